import { createHash } from 'node:crypto'
import { afterEach, expect } from 'vitest'
import { makeKey } from '../../client/net/node-identity.ts'
import type { Lease } from '../../core/tracker-api.ts'
import { type HostileUploader, startHostileUploader } from '../pull/hostile-uploader.ts'
import { startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { enrol, type Member, swarmOf } from './attacker.ts'

/** A cluster of one honest node, with members who take leases and publish what they like. */
export const PIECE_BYTES = 256 * 1024
const VERDICT_MS_MAX = 5_000
const POLL_MS = 50

export const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
export const pieceOf = ({ bytes }: { bytes: Buffer }, piece: number) =>
  bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES)

/** The blob as a liar has it: its first piece is another. */
export function lieAbout(blob: TestBlob): TestBlob {
  const lie = { ...blob, bytes: Buffer.from(blob.bytes) }
  lie.bytes.fill(0xee, 0, PIECE_BYTES)
  return lie
}

export interface Scene {
  cluster: TestCluster
  /** Every log line of the node and of the tracker. */
  logged: Record<string, unknown>[]
  /** Closed with the test. */
  newMember(): Promise<Member>
  /** Serves the first piece of the lie. */
  serve(lie: TestBlob): Promise<HostileUploader>
  start(options?: { leaseSeconds?: number }): Promise<void>
}

/** One cluster per test; call `start` first. */
export function useScene(): Scene {
  const open: { close(): Promise<void> }[] = []
  const scene: Scene = {
    cluster: undefined as never,
    logged: [],
    async start(options = {}) {
      scene.logged = []
      const logTo = { write: (line: string) => void scene.logged.push(JSON.parse(line)) }
      scene.cluster = await startTestCluster({ nodes: 1, logLevel: 'debug', logTo, ...options })
    },
    async newMember() {
      const member = await enrol(scene.cluster)
      open.push(member.tracker)
      return member
    },
    async serve(lie) {
      const uploader = await startHostileUploader(scene.cluster, lie, 'first-piece')
      open.push(uploader)
      return uploader
    },
  }
  afterEach(async () => {
    for (const it of open.splice(0)) await it.close()
    await scene.cluster?.close()
  })
  return scene
}

export function askPull(cluster: TestCluster, { tracker }: Member, blob: TestBlob) {
  const { registry, repository, credential } = cluster.request(blob)
  const publicKey = makeKey().spki.toString('base64url')
  const blobs = [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: true }]
  return tracker.pull({ registry, repository, credential, publicKey, listenPort: 9, blobs }, 5000)
}

/** Publishes the hashes that `as` has for a lease, or only for its first `pieces`; asks for the next lease. */
export async function publishLease(
  cluster: TestCluster,
  member: Member,
  { pull, lease, as, pieces = lease.pieces }: { pull: string; lease: Lease; as: TestBlob; pieces?: number },
): Promise<Lease | null> {
  const { firstPiece } = lease
  const hashes = Array.from({ length: pieces }, (_, at) => hashOf(pieceOf(as, firstPiece + at)))
  const answer = await member.tracker.hashes(swarmOf(member, cluster, as), {
    pull,
    lease: lease.lease,
    epoch: 0,
    firstPiece,
    hashes: Buffer.concat(hashes).toString('base64url'),
    isLeaseReleased: false,
    wantsLease: true,
    position: 0,
    batchesFrom: null,
  })
  return answer.lease
}

/** Lease after lease, until every piece has the liar's hash. @returns the blob as the liar has it */
export async function publishLie(cluster: TestCluster, liar: Member, blob: TestBlob): Promise<TestBlob> {
  const lie = lieAbout(blob)
  const { pull, swarms } = await askPull(cluster, liar, blob)
  for (let lease = swarms[0]!.lease; lease !== null; )
    lease = await publishLease(cluster, liar, { pull, lease, as: lie })
  return lie
}

/** The verdict: the member is refused pulls from now on, and the tracker's log names it with its code. */
export async function expectConvicted({ cluster, logged }: Scene, member: Member, blob: TestBlob) {
  expect(await refusalOf(cluster, member, blob)).toBe('NODE_REVOKED')
  const verdicts = logged.filter(({ code }) => code === 'HASH_LIE').map(({ liar }) => liar)
  expect(verdicts).toEqual([member.node])
}

/** @returns the code with which the member is refused a pull, once it is */
async function refusalOf(cluster: TestCluster, member: Member, blob: TestBlob): Promise<string | undefined> {
  for (const deadlineMs = Date.now() + VERDICT_MS_MAX; Date.now() < deadlineMs; ) {
    const code = await askPull(cluster, member, blob).then(
      () => undefined,
      (error: { trackerCode?: string }) => error.trackerCode,
    )
    if (code !== undefined) return code
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return undefined
}
