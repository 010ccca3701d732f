import { createHash } from 'node:crypto'
import { blobPath } from '../../core/blob-question.ts'
import { isDefect } from '../../core/defects.ts'
import {
  type ClusterId,
  type NodeId,
  type PieceIndex,
  pieceBytesAt,
  pieceLayout,
  type SwarmId,
} from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { TrackerParts } from '../parts.ts'
import { expectUnlimited } from '../pull/registry-head.ts'
import type { DisputeRecord, PullRecord, SwarmIdentity } from '../store/store.ts'
import type { PullAccess } from '../swarm/pull-accesses.ts'

/**
 * Finds out which of two nodes lied about a piece: the tracker fetches the piece itself. It believes only the registry.
 * If it cannot fetch the piece, nobody is blamed.
 */

/** For all tries together; a piece is at most 4 MiB. */
const FETCH_MS_MAX = 60_000

export type Verdict = 'publisher' | 'reporter' | 'undecided'

/** Settles a dispute that was just recorded. Never rejects: without evidence there is no verdict. */
export async function settleDispute(
  parts: TrackerParts,
  identity: SwarmIdentity,
  dispute: DisputeRecord,
): Promise<Verdict> {
  const { cluster, swarm } = identity
  const facts = {
    cluster,
    swarm,
    piece: dispute.piece,
    publisher: dispute.publisher,
    reporter: dispute.reporter,
  }
  try {
    const verdict = judge(dispute, await hashFromRegistry(parts, identity, dispute))
    parts.metrics.verdicts.inc({ verdict })
    if (verdict === 'undecided') {
      parts.log.warn(facts, 'cannot settle a disputed piece: nobody is revoked, and two other nodes fetch it')
      return verdict
    }
    await parts.swarms.step(cluster, swarm, (state) => state.settleDispute(dispute.piece, parts.nowMs()))
    const liar = dispute[verdict]
    parts.log.warn({ ...facts, code: 'HASH_LIE', liar }, 'a node lied about a piece and is revoked')
    const pull =
      verdict === 'publisher'
        ? await parts.store.pull(dispute.publisherPull)
        : await parts.store.newestPull({ cluster, node: liar, swarm })
    await convict(parts, { cluster, swarm }, liar, pull)
    return verdict
  } catch (error) {
    if (isDefect(error)) parts.defects.note('tracker_job', error, facts)
    parts.log.error({ ...facts, err: error }, 'cannot settle a dispute')
    return 'undecided'
  }
}

function judge(
  { publishedHash, reportedHash }: Pick<DisputeRecord, 'publishedHash' | 'reportedHash'>,
  actual: Buffer | undefined,
): Verdict {
  if (actual?.equals(reportedHash)) return 'publisher'
  if (actual?.equals(publishedHash)) return 'reporter'
  return 'undecided'
}

/**
 * Drops the liar's other claims in this swarm too. Revoking the node ends all its pulls.
 * @param pull in which it lied
 */
async function convict(
  parts: TrackerParts,
  { cluster, swarm }: { cluster: ClusterId; swarm: SwarmId },
  liar: NodeId,
  pull: PullRecord | undefined,
): Promise<void> {
  const nowMs = parts.nowMs()
  const conviction = { tokenHash: pull?.tokenHash ?? null }
  const target = { kind: 'node', node: liar, conviction } as const
  await parts.revocations.revoke(cluster, target, { actor: 'tracker', nowMs })
  parts.peers.of(cluster).forget(liar)
  const isRisen = await parts.swarms.step(cluster, swarm, (state) => state.dropPublisher(liar, nowMs))
  if (isRisen) {
    parts.metrics.epochRises.inc()
    await parts.epochs.refresh()
  }
  await parts.revocations.clearEnded(nowMs)
}

/**
 * Asks with one node's credential after the other. The two who disagree come last: a credential that the registry
 * refuses must not save its owner from the verdict.
 * @returns SHA-256 of the piece as the registry has it; undefined when nobody's credential gets it
 */
async function hashFromRegistry(
  parts: TrackerParts,
  { registry: host, swarm, digest, bytes }: SwarmIdentity,
  { piece, publisher, reporter }: DisputeRecord,
): Promise<Buffer | undefined> {
  const registry = parts.registries.get(host)
  if (registry === undefined) return undefined
  const layout = pieceLayout(bytes)
  const range = { from: piece * layout.pieceBytes, length: pieceBytesAt(layout, piece as PieceIndex) }
  const signal = AbortSignal.timeout(FETCH_MS_MAX)
  const isParty = ({ node }: PullAccess) => node === publisher || node === reporter
  const accesses = parts.accesses.usable(swarm, parts.nowMs())
  for (const access of accesses.sort((one, other) => Number(isParty(one)) - Number(isParty(other)))) {
    const path = blobPath({ repository: access.repository, digest }, registry.apiPath)
    try {
      const hash = await hashOfRange(registry, access, { path, ...range, signal })
      if (hash !== undefined) return hash
    } catch (error) {
      parts.log.warn({ err: error, registry: host }, 'cannot fetch a disputed piece')
    }
  }
  return undefined
}

/** RFC 9110 §14. Accepts only the exact range, and follows no redirect, so that the tracker contacts only configured hosts. */
async function hashOfRange(
  registry: RegistryClient,
  { authorization }: PullAccess,
  { path, from, length, signal }: { path: string; from: number; length: number; signal: AbortSignal },
): Promise<Buffer | undefined> {
  expectUnlimited(registry, authorization)
  const answer = await registry.dispatcher.request({
    method: 'GET',
    path,
    headers: {
      range: `bytes=${from}-${from + length - 1}`,
      ...(authorization === undefined ? {} : { authorization }),
    },
    signal,
  })
  // undici reports the end of an unread body by an error event; without a listener that counts as a defect.
  answer.body.on('error', () => undefined)
  const range = answer.headers['content-range']
  const isPiece = typeof range === 'string' && range.startsWith(`bytes ${from}-${from + length - 1}/`)
  if (answer.statusCode !== 206 || !isPiece) {
    answer.body.destroy()
    return undefined
  }
  const hash = createHash('sha256')
  let left = length
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    left -= chunk.length
    if (left < 0) break
    hash.update(chunk)
  }
  return left === 0 ? hash.digest() : undefined
}
