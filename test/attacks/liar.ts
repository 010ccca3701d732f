import { createHash, randomBytes } from 'node:crypto'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { Lease, PullResponse } from '../../core/tracker-api.ts'
import type { TestBlob } from '../pull/test-cluster.ts'
import { type Member, type Surroundings, swarmOf } from './attacker.ts'

/** Members that lie to the tracker about pieces. All blobs here are small enough for the smallest piece length. */

export const PIECE_BYTES = 256 * 1024
const VERDICT_MS_MAX = 5_000
const POLL_MS = 50
/** The patience of a real node is 2 s; a verdict is waited for elsewhere. */
const PULL_PATIENCE_MS = 5_000

export const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
export const pieceOf = ({ bytes }: { bytes: Buffer }, piece: number) =>
  bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES)

/** As a node whose client asks for the blob; the answer brings a lease, when there is one to be had. */
export function askPull({ tracker }: Member, cluster: Surroundings, blob: TestBlob): Promise<PullResponse> {
  const { registry, repository, credential } = cluster.request(blob)
  const publicKey = makeKey().spki.toString('base64url')
  const blobs = [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: true }]
  return tracker.pull({ registry, repository, credential, publicKey, listenPort: 9, blobs }, PULL_PATIENCE_MS)
}

/** The blob as a liar has it: its first piece is another. */
export function lieAbout(blob: TestBlob): TestBlob {
  const lie = { ...blob, bytes: Buffer.from(blob.bytes) }
  lie.bytes.fill(0xee, 0, PIECE_BYTES)
  return lie
}

/** Publishes the hashes that `as` has for a lease, or only for its first `pieces`; asks for the next lease. */
export async function publishLease(
  member: Member,
  cluster: Surroundings,
  { pull, lease, as, pieces = lease.pieces }: { pull: string; lease: Lease; as: TestBlob; pieces?: number },
): Promise<Lease | null> {
  const { firstPiece } = lease
  const hashes = Array.from({ length: pieces }, (_, at) => hashOf(pieceOf(as, firstPiece + at)))
  const answer = await member.tracker.hashes(swarmOf(member, cluster, as), {
    ...{ pull, lease: lease.lease, epoch: 0, firstPiece, position: 0, batchesFrom: null },
    ...{ isLeaseReleased: false, wantsLease: true },
    hashes: Buffer.concat(hashes).toString('base64url'),
  })
  return answer.lease
}

/** Lease after lease, until every piece has the liar's hash. @returns the blob as the liar has it */
export async function publishLie(liar: Member, cluster: Surroundings, blob: TestBlob): Promise<TestBlob> {
  const lie = lieAbout(blob)
  const { pull, swarms } = await askPull(liar, cluster, blob)
  for (let lease = swarms[0]!.lease; lease !== null; )
    lease = await publishLease(liar, cluster, { pull, lease, as: lie })
  return lie
}

/** Says that it matched the whole blob. The word of two makes the hashes confirmed. */
export async function vouch(member: Member, cluster: Surroundings, blob: TestBlob): Promise<void> {
  const said = { epoch: 0, matched: 'whole' as const, piecesSha1: null }
  await member.tracker.complete(swarmOf(member, cluster, blob), said)
}

/** Tells the tracker that the registry has one of the pieces otherwise. */
export async function slander(slanderer: Member, cluster: Surroundings, blob: TestBlob): Promise<void> {
  await slanderer.tracker.mismatch(swarmOf(slanderer, cluster, blob), {
    epoch: 0,
    pieces: [{ piece: 2, hash: randomBytes(32).toString('base64url') }],
  })
}

/** @returns the code with which the member is refused a pull, once it is; undefined when it is not in time */
export async function refusalOf(
  member: Member,
  cluster: Surroundings,
  blob: TestBlob,
): Promise<string | undefined> {
  for (const deadlineMs = Date.now() + VERDICT_MS_MAX; Date.now() < deadlineMs; ) {
    const code = await askPull(member, cluster, blob).then(
      () => undefined,
      (error: { trackerCode?: string }) => error.trackerCode,
    )
    if (code !== undefined) return code
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return undefined
}
