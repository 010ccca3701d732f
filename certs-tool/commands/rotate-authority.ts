import { UsageError } from '../../core/errors.ts'
import { addAuthority, withdrawAuthority } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess } from '../admin-flags.ts'
import { command } from '../command.ts'
import { parseClusterId } from '../secrets.ts'

export const rotateAuthorityCommand = command({
  name: 'rotate-authority',
  summary:
    'Gives a cluster a new authority while it runs. The previous one stays trusted for a day, or until --withdraw.',
  positionals: ['cluster id'],
  flags: {
    ...ADMIN_FLAGS,
    withdraw: {
      type: 'boolean',
      description: 'Ends the rotation now: certificates of the previous authority count no more.',
    },
    force: {
      type: 'boolean',
      description:
        'With --withdraw: also while nodes hold such certificates. They need the join token again.',
    },
    leaked: {
      type: 'boolean',
      description:
        "Somebody else has the previous authority's key: none of its certificates is renewed, every node joins again with the join token.",
    },
  },
  async run(values, [id = '']) {
    const cluster = parseClusterId(id)
    const access = adminAccess(values)
    if (values.withdraw && values.leaked) {
      throw new UsageError('--leaked goes with the beginning of a rotation, not with --withdraw', {
        hint: 'Nothing was changed.',
      })
    }
    if (values.withdraw) return withdrawnText(await withdrawAuthority(access, cluster, values.force))
    if (values.force) throw new UsageError('--force goes with --withdraw', { hint: 'Nothing was changed.' })
    const { issuesAtMs, previousEndsAtMs } = await addAuthority(access, cluster, values.leaked)
    const then = values.leaked ? 'every node joins again with the join token' : 'nodes renew by themselves'
    return [
      `the new authority of ${cluster} issues from ${timeText(issuesAtMs)} on; ${then}`,
      `the previous one is withdrawn at ${timeText(previousEndsAtMs)}, or before by --withdraw\n`,
    ].join('\n')
  },
})

function withdrawnText(nodesLeft: number): string {
  const rest = nodesLeft === 0 ? '' : `; nodes that must join again with the join token: ${nodesLeft}`
  return `the previous authority is withdrawn${rest}\n`
}

function timeText(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19)}Z`
}
