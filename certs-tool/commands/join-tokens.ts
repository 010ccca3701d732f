import type { AnsweredFor } from '../../core/admin-api/calls.ts'
import { UsageError } from '../../core/errors.ts'
import { trackerAddress } from '../../core/join-string.ts'
import { joinTokenHash } from '../../core/join-token.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { utcText } from '../../core/time-text.ts'
import { type AdminAccess, ask } from '../admin-client.ts'
import { JoinAddressError } from '../errors.ts'
import { type JoinTerms, joinLines, madeJoinString } from '../join-terms.ts'
import { writeNewFiles } from '../key-files.ts'
import { newJoinToken } from '../secrets.ts'

/** Join tokens and join strings, of machines that join a cluster. */

export type JoinTokenLine = AnsweredFor<'joinTokens.list'>['joinTokens'][number]

export interface JoinStringWanted {
  cluster: string | undefined
  terms: JoinTerms
  /** Default: as the tracker's setting `advertise` has them. */
  trackers: string[]
  quiet: boolean
  out: string | undefined
  force: boolean
}

/** @returns text for standard output */
export async function madeJoinText(access: AdminAccess, wanted: JoinStringWanted): Promise<string> {
  const { terms, quiet, out, force } = wanted
  const cluster = await clusterOf(access, wanted.cluster)
  const { trackers, pin } = await addressOf(access, wanted.trackers)
  const joinToken = newJoinToken(cluster)
  await ask(access, 'joinTokens.create', { cluster, hash: joinTokenHash(joinToken), ...terms })
  const joinString = madeJoinString(pin, joinToken, trackers)
  if (out !== undefined) {
    writeNewFiles([{ path: out, content: joinString, isSecret: true }], force)
    return `${out}  shoal join - < ${out}\n`
  }
  return quiet ? `${joinString}\n` : `${joinLines(joinString, terms).join('\n')}\n`
}

export async function joinTokensOf(access: AdminAccess, named: string | undefined): Promise<JoinTokenLine[]> {
  const cluster = await clusterOf(access, named)
  return (await ask(access, 'joinTokens.list', { cluster })).joinTokens
}

export async function withdrawJoinToken(
  access: AdminAccess,
  named: string | undefined,
  id: string,
): Promise<string> {
  const cluster = await clusterOf(access, named)
  await ask(access, 'joinTokens.withdraw', { cluster, token: id })
  return `join token ${id} is withdrawn; nodes that joined stay\n`
}

export function joinTokenRow({ id, standing, uses, usesMax, validUntilMs }: JoinTokenLine): string[] {
  const ends = validUntilMs === null ? 'never' : utcText(validUntilMs)
  return [id, standing, String(uses), usesMax === null ? 'any' : String(usesMax), ends]
}

/** @throws UsageError */
export async function clusterOf(access: AdminAccess, named: string | undefined): Promise<ClusterId> {
  const all = (await ask(access, 'clusters.list', {})).clusters
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
  const { trackers, authorityPin } = await ask(access, 'joinAddress.show', {})
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
