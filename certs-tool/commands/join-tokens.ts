import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { trackerAddress } from '../../core/join-string.ts'
import { joinTokenHash } from '../../core/join-token.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { utcText } from '../../core/time-text.ts'
import type { AdminAccess } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess } from '../admin-flags.ts'
import { JoinAddressError } from '../errors.ts'
import { JOIN_TERM_FLAGS, joinLines, joinTerms, madeJoinString } from '../join-terms.ts'
import {
  addJoinToken,
  clusters,
  type JoinTokenLine,
  joinTokens,
  trackerJoinAddress,
  withdrawJoinToken,
} from '../join-token-client.ts'
import { refuseExisting, writeNewFiles } from '../key-files.ts'
import { newJoinToken } from '../secrets.ts'

const CLUSTER_FLAG = {
  cluster: {
    type: 'string',
    value: 'name or id',
    description: 'The cluster. May be left out if the tracker has only one.',
  },
} as const

export const tokenCreateCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    ...CLUSTER_FLAG,
    ...JOIN_TERM_FLAGS,
    tracker: {
      type: 'string',
      multiple: true,
      value: 'host:port',
      description:
        'Where nodes reach the tracker; may be repeated. Default: the setting advertise of the tracker.',
    },
    quiet: { type: 'boolean', description: 'Print the join string alone.' },
    out: {
      type: 'string',
      value: 'file',
      description: 'Write the join string to this file (mode 0600) instead of printing it.',
    },
    force: { type: 'boolean', description: 'Replace a file that exists.' },
  },
  async run(values) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const terms = joinTerms(values)
    const access = adminAccess(values)
    const cluster = await clusterOf(access, values.cluster)
    const { trackers, pin } = await addressOf(access, values.tracker)
    const joinToken = newJoinToken(cluster)
    await addJoinToken(access, cluster, { hash: joinTokenHash(joinToken), ...terms })
    const joinString = madeJoinString(pin, joinToken, trackers)
    if (values.out !== undefined) {
      writeNewFiles([{ path: values.out, content: joinString, isSecret: true }], values.force)
      return `${values.out}  shoal join - < ${values.out}\n`
    }
    return values.quiet ? `${joinString}\n` : `${joinLines(joinString, terms).join('\n')}\n`
  },
})

export const tokenListCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    ...CLUSTER_FLAG,
    json: { type: 'boolean', description: 'Print a JSON array instead.' },
  },
  async run(values) {
    const access = adminAccess(values)
    const tokens = await joinTokens(access, await clusterOf(access, values.cluster))
    if (values.json) return `${JSON.stringify(tokens, null, 2)}\n`
    if (tokens.length === 0) return 'no join token is valid, and none ended within a week\n'
    const rows = [['ID', 'STANDING', 'JOINED', 'OF', 'ENDS'], ...tokens.map(rowOf)]
    const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)))
    const lines = rows.map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    )
    return `${lines.join('\n')}\n`
  },
})

export const tokenWithdrawCommand = command({
  positionals: ['token id'],
  flags: { ...ADMIN_FLAGS, ...CLUSTER_FLAG },
  async run(values, [id = '']) {
    if (!/^[0-9a-f]{16}$/.test(id)) {
      throw new UsageError(`not the id of a join token: ${id.slice(0, 80)}`, {
        hint: 'It is the first column of `shoal admin token ls`.',
      })
    }
    const access = adminAccess(values)
    await withdrawJoinToken(access, await clusterOf(access, values.cluster), id)
    return `join token ${id} is withdrawn; nodes that joined stay\n`
  },
})

function rowOf({ id, standing, uses, usesMax, validUntilMs }: JoinTokenLine): string[] {
  const ends = validUntilMs === null ? 'never' : utcText(validUntilMs)
  return [id, standing, String(uses), usesMax === null ? 'any' : String(usesMax), ends]
}

/** @throws UsageError */
async function clusterOf(access: AdminAccess, named: string | undefined): Promise<ClusterId> {
  const all = await clusters(access)
  const fitting = all.filter(
    ({ cluster, name }) => named === undefined || named === cluster || named === name,
  )
  const [only] = fitting
  if (only !== undefined && fitting.length === 1) return only.cluster as ClusterId
  const known = all.map(({ cluster, name }) => `${name} (${cluster})`).join(', ')
  throw new UsageError(
    named === undefined
      ? `the tracker has ${all.length} clusters`
      : `${fitting.length === 0 ? 'no cluster is' : 'several clusters are'} called ${named.slice(0, 80)}`,
    {
      hint:
        all.length === 0 ? '`shoal admin cluster create` makes one.' : `Name one with --cluster: ${known}.`,
    },
  )
}

/** @throws JoinAddressError, UsageError */
async function addressOf(access: AdminAccess, named: string[]) {
  const wrong = named.find((one) => !trackerAddress.safeParse(one).success)
  if (wrong !== undefined) {
    throw new UsageError(`--tracker: expected host:port, got ${wrong.slice(0, 80)}`, {
      hint: 'Write it as tracker.example.com:7443.',
    })
  }
  const { trackers, authorityPin } = await trackerJoinAddress(access)
  const at = named.length > 0 ? named : trackers
  if (authorityPin === null) {
    throw new JoinAddressError(
      'the tracker’s tlsCertFile does not contain the authority of its certificate',
      {
        hint: 'Append the authority’s certificate (PEM) to that file, and restart the tracker.',
      },
    )
  }
  if (at.length > 0) return { trackers: at, pin: authorityPin }
  throw new JoinAddressError('the tracker does not know where nodes reach it', {
    hint: 'Name it with --tracker tracker.example.com:7443, or set advertise in the tracker’s settings.',
  })
}
