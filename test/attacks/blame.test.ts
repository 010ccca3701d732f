import { createHash, randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { makeKey } from '../../client/net/node-identity.ts'
import { type HostileUploader, startHostileUploader } from '../pull/hostile-uploader.ts'
import { pull, randomBlob, startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { enrol, type Member, swarmOf } from './attacker.ts'

/** Who lies about a piece is found out by the tracker's own look at the registry, and bars nobody but itself. */
let cluster: TestCluster
let uploader: HostileUploader | undefined
const members: Member[] = []
afterEach(async () => {
  await uploader?.close()
  for (const member of members.splice(0)) await member.tracker.close()
  await cluster?.close()
})
const PIECE_BYTES = 256 * 1024
const PIECES = 5
const VERDICT_MS_MAX = 5_000
const POLL_MS = 50

const hashOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest()

async function newMember(): Promise<Member> {
  const member = await enrol(cluster)
  members.push(member)
  return member
}

function askPull({ tracker }: Member, blob: TestBlob) {
  const { registry, repository, credential } = cluster.request(blob)
  const publicKey = makeKey().spki.toString('base64url')
  const blobs = [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: true }]
  return tracker.pull({ registry, repository, credential, publicKey, listenPort: 9, blobs }, 5000)
}

/** Publishes hashes of its own bytes for every piece that it gets a lease for. */
async function publishLie(liar: Member, blob: TestBlob): Promise<TestBlob> {
  const lie = { ...blob, bytes: Buffer.from(blob.bytes) }
  lie.bytes.fill(0xee, 0, PIECE_BYTES)
  const { pull: id, swarms } = await askPull(liar, blob)
  for (let lease = swarms[0]!.lease; lease !== null; ) {
    const { firstPiece, pieces } = lease
    const at = (piece: number) => lie.bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES)
    const hashes = Array.from({ length: pieces }, (_, index) => hashOf(at(firstPiece + index)))
    const call = { pull: id, lease: lease.lease, epoch: 0, firstPiece, position: 0, batchesFrom: null }
    const body = {
      hashes: Buffer.concat(hashes).toString('base64url'),
      isLeaseReleased: false,
      wantsLease: true,
    }
    lease = (await liar.tracker.hashes(swarmOf(liar, cluster, blob), { ...call, ...body })).lease
  }
  return lie
}

/** @returns the code with which the member is refused a pull, once it is */
async function refusalOf(member: Member, blob: TestBlob): Promise<string | undefined> {
  for (const deadlineMs = Date.now() + VERDICT_MS_MAX; Date.now() < deadlineMs; ) {
    const code = await askPull(member, blob).then(
      () => undefined,
      (error: { trackerCode?: string }) => error.trackerCode,
    )
    if (code !== undefined) return code
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return undefined
}

test('a publisher of a wrong hash is revoked by the node that its lie was told to, and that node is not', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [victim] = cluster.nodes
  const blob = cluster.registry.add(randomBlob((PIECES - 1) * PIECE_BYTES + 5).bytes)
  const liar = await newMember()
  uploader = await startHostileUploader(cluster, await publishLie(liar, blob), 'first-piece')
  await expect(pull(victim!, cluster.request(blob))).rejects.toMatchObject({ code: 'BLOB_DISTRUSTED' })
  expect(await refusalOf(liar, blob)).toBe('NODE_REVOKED')
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(victim!, cluster.request(other))).equals(other.bytes)).toBe(true)
}, 30_000)

test('a node that reports a right hash as wrong is revoked, and the honest publisher is not', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [honest] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(honest!, cluster.request(blob))
  const slanderer = await newMember()
  await askPull(slanderer, blob)
  await slanderer.tracker.mismatch(swarmOf(slanderer, cluster, blob), {
    epoch: 0,
    pieces: [{ piece: 2, hash: randomBytes(32).toString('base64url') }],
  })
  expect(await refusalOf(slanderer, blob)).toBe('NODE_REVOKED')
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(honest!, cluster.request(other))).equals(other.bytes)).toBe(true)
}, 30_000)

test('with the registry out of reach nobody is revoked', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const reporter = await newMember()
  await askPull(reporter, blob)
  cluster.registry.isDown = true
  await reporter.tracker.mismatch(swarmOf(reporter, cluster, blob), {
    epoch: 0,
    pieces: [{ piece: 2, hash: randomBytes(32).toString('base64url') }],
  })
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  cluster.registry.isDown = false
  await expect(askPull(reporter, blob)).resolves.toMatchObject({ refused: [] })
}, 30_000)

test('an accuser that repeats an overtaken report does not make the tracker ask the registry each time', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const reporter = await newMember()
  await askPull(reporter, blob)
  cluster.registry.isDown = true
  const accuse = () =>
    reporter.tracker.mismatch(swarmOf(reporter, cluster, blob), {
      epoch: 0,
      pieces: [{ piece: 2, hash: randomBytes(32).toString('base64url') }],
    })
  await accuse()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  cluster.registry.isDown = false
  const sentBefore = cluster.registry.sentBytes.get(blob.digest)
  for (let times = 0; times < 5; times += 1) await accuse()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(sentBefore)
}, 30_000)
