import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { utcSecondsText } from '../../core/time-text.ts'
import { ask } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess } from '../admin-flags.ts'
import { parseClusterId } from '../secrets.ts'

/**
 * Changes of keys, all of one form. Without a flag a change begins, and the tracker withdraws the previous key later.
 * `--withdraw` ends the change now. `--leaked` begins a change because somebody else has the key.
 */

const WITHDRAW = {
  type: 'boolean',
  description: 'End the change now: signatures of the previous key no longer count.',
} as const
const FORCE_DESCRIPTION =
  'With --withdraw: even if nodes still hold certificates of the previous authority. They need the join token again.'

/** @throws UsageError before any call to the tracker */
function checkFlags(given: { withdraw: boolean; leaked: boolean; force?: boolean }): void {
  const hint = 'Nothing was changed.'
  if (given.withdraw && given.leaked) {
    throw new UsageError('--leaked goes with the beginning of a change, not with --withdraw', { hint })
  }
  if (given.force && !given.withdraw) throw new UsageError('--force goes with --withdraw', { hint })
}

export const rotateAuthorityCommand = command({
  positionals: ['cluster id'],
  flags: {
    ...ADMIN_FLAGS,
    withdraw: WITHDRAW,
    force: { type: 'boolean', description: FORCE_DESCRIPTION },
    leaked: {
      type: 'boolean',
      description:
        "Somebody else has the previous authority's key: none of its certificates is renewed, every node joins again with the join token.",
    },
  },
  async run(values, [id = '']) {
    const cluster = parseClusterId(id)
    const access = adminAccess(values)
    checkFlags(values)
    if (values.withdraw) {
      const ended = await ask(access, 'authorities.withdraw', { cluster, isForced: values.force })
      return withdrawnText(ended.nodesLeft)
    }
    const begun = await ask(access, 'authorities.rotate', { cluster, isLeaked: values.leaked })
    const { issuesAtMs, previousEndsAtMs } = begun.rotation
    const then = values.leaked ? 'every node joins again with the join token' : 'nodes renew by themselves'
    return [
      `the new authority of ${cluster} issues from ${utcSecondsText(issuesAtMs)} on; ${then}`,
      `the previous one is withdrawn at ${utcSecondsText(previousEndsAtMs)}, or before by --withdraw\n`,
    ].join('\n')
  },
})

export const rotateSigningKeyCommand = command({
  positionals: ['cluster id'],
  flags: {
    ...ADMIN_FLAGS,
    withdraw: WITHDRAW,
    force: {
      type: 'boolean',
      description:
        'With --withdraw: even if nodes are still renewing signatures of the previous key. Their downloads may use the registry.',
    },
    leaked: {
      type: 'boolean',
      description:
        'Somebody else has the previous key: the tracker withdraws it as soon as the new one signs.',
    },
  },
  async run(values, [id = '']) {
    const cluster = parseClusterId(id)
    const access = adminAccess(values)
    checkFlags(values)
    if (values.withdraw) {
      await ask(access, 'signingKeys.withdraw', { cluster, isForced: values.force })
      return 'the previous signing key is withdrawn\n'
    }
    const begun = await ask(access, 'signingKeys.rotate', { cluster, isLeaked: values.leaked })
    const { signsAtMs, previousEndsAtMs } = begun.rotation
    const before = values.leaked ? '' : ', or before by --withdraw'
    return [
      `the new signing key of ${cluster} signs from ${utcSecondsText(signsAtMs)} on; nodes renew by themselves`,
      `the previous one is withdrawn at ${utcSecondsText(previousEndsAtMs)}${before}\n`,
    ].join('\n')
  },
})

export const rotateAdminCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    withdraw: WITHDRAW,
    leaked: {
      type: 'boolean',
      description:
        'Somebody else has a certificate or the key: all administrators’ certificates end at once. The socket needs none.',
    },
  },
  async run(values) {
    const access = adminAccess(values)
    checkFlags(values)
    if (values.withdraw) {
      await ask(access, 'adminAuthority.withdraw', {})
      return 'the previous admin authority is withdrawn\n'
    }
    const begun = await ask(access, 'adminAuthority.rotate', { isLeaked: values.leaked })
    const endsAtMs = begun.previousEndsAtMs
    const then =
      endsAtMs === null
        ? 'all certificates of earlier ones have ended'
        : `the previous one is withdrawn at ${utcSecondsText(endsAtMs)}, or before by --withdraw`
    return `the new admin authority issues from now on; ${then}\n`
  },
})

function withdrawnText(nodesLeft: number): string {
  const rest = nodesLeft === 0 ? '' : `; nodes that must join again with the join token: ${nodesLeft}`
  return `the previous authority is withdrawn${rest}\n`
}
