import { afterEach, expect, test } from 'vitest'
import { type HostileUploader, startHostileUploader } from '../pull/hostile-uploader.ts'
import { pull, randomBlob, startTestCluster, type TestCluster } from '../pull/test-cluster.ts'
import { enrol, type Member } from './attacker.ts'
import { askPull, PIECE_BYTES, publishLie, refusalOf, slander } from './liar.ts'

/** Who lies about a piece is found out by the tracker's own look at the registry, and bars nobody but itself. */
let cluster: TestCluster
let uploader: HostileUploader | undefined
const members: Member[] = []
afterEach(async () => {
  await uploader?.close()
  for (const member of members.splice(0)) await member.tracker.close()
  await cluster?.close()
})
const PIECES = 5

async function newMember(): Promise<Member> {
  const member = await enrol(cluster)
  members.push(member)
  return member
}

test('a publisher of a wrong hash is revoked by the node that its lie was told to, and that node is not', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [victim] = cluster.nodes
  const blob = cluster.registry.add(randomBlob((PIECES - 1) * PIECE_BYTES + 5).bytes)
  const liar = await newMember()
  uploader = await startHostileUploader(cluster, await publishLie(liar, cluster, blob), 'first-piece')
  await expect(pull(victim!, cluster.request(blob))).rejects.toMatchObject({ code: 'BLOB_DISTRUSTED' })
  expect(await refusalOf(liar, cluster, blob)).toBe('NODE_REVOKED')
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(victim!, cluster.request(other))).equals(other.bytes)).toBe(true)
}, 30_000)

test('a node that reports a right hash as wrong is revoked, and the honest publisher is not', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [honest] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(honest!, cluster.request(blob))
  const slanderer = await newMember()
  await askPull(slanderer, cluster, blob)
  await slander(slanderer, cluster, blob)
  expect(await refusalOf(slanderer, cluster, blob)).toBe('NODE_REVOKED')
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(honest!, cluster.request(other))).equals(other.bytes)).toBe(true)
}, 30_000)

test('with the registry out of reach nobody is revoked', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const reporter = await newMember()
  await askPull(reporter, cluster, blob)
  cluster.registry.isDown = true
  await slander(reporter, cluster, blob)
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  cluster.registry.isDown = false
  await expect(askPull(reporter, cluster, blob)).resolves.toMatchObject({ refused: [] })
}, 30_000)

test('an accuser that repeats an overtaken report does not make the tracker ask the registry each time', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const reporter = await newMember()
  await askPull(reporter, cluster, blob)
  cluster.registry.isDown = true
  const accuse = () => slander(reporter, cluster, blob)
  await accuse()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  cluster.registry.isDown = false
  const sentBefore = cluster.registry.sentBytes.get(blob.digest)
  for (let times = 0; times < 5; times += 1) await accuse()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(sentBefore)
}, 30_000)
