import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { type Member, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { askPull, PIECE_BYTES, publishLie } from './liar.ts'
import { expectConvicted, useScene } from './scene.ts'

/** Who lies about a piece is found out by the tracker's own look at the registry, and bars nobody but itself. */
const scene = useScene()
const PIECES = 5
const OVERTAKEN_MS = 1_000

const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))

function reportWrongPiece({ tracker }: Member, swarm: ReturnType<typeof swarmOf>) {
  const hash = randomBytes(32).toString('base64url')
  return tracker.mismatch(swarm, { epoch: 0, pieces: [{ piece: 2, hash }] })
}

/** The one honest node has the blob; a member is in its swarm. */
async function startWithPublished(): Promise<{ blob: TestBlob; reporter: Member }> {
  await scene.start()
  const { cluster } = scene
  const blob = cluster.registry.add(randomBlob(PIECES * PIECE_BYTES).bytes)
  await pull(cluster.nodes[0]!, cluster.request(blob))
  const reporter = await scene.newMember()
  await askPull(reporter, cluster, blob)
  return { blob, reporter }
}

async function expectHonestNodePulls(): Promise<void> {
  const { cluster } = scene
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(cluster.nodes[0]!, cluster.request(other))).equals(other.bytes)).toBe(true)
}

attackTest(
  'a publisher of a wrong hash is revoked by the node that its lie was told to, and that node is not',
  async () => {
    await scene.start()
    const { cluster } = scene
    const blob = cluster.registry.add(randomBlob((PIECES - 1) * PIECE_BYTES + 5).bytes)
    const liar = await scene.newMember()
    await scene.serve(await publishLie(liar, cluster, blob))
    const reading = pull(cluster.nodes[0]!, cluster.request(blob))
    await expect(reading).rejects.toMatchObject({ code: 'BLOB_DISTRUSTED' })
    await expectConvicted(scene, liar, blob)
    await expectHonestNodePulls()
  },
  30_000,
)

attackTest(
  'a node that reports a right hash as wrong is revoked, and the honest publisher is not',
  async () => {
    const { blob, reporter } = await startWithPublished()
    await reportWrongPiece(reporter, swarmOf(reporter, scene.cluster, blob))
    await expectConvicted(scene, reporter, blob)
    await expectHonestNodePulls()
  },
  30_000,
)

attackTest(
  'with the registry out of reach nobody is revoked',
  async () => {
    const { blob, reporter } = await startWithPublished()
    const { registry } = scene.cluster
    registry.isDown = true
    await reportWrongPiece(reporter, swarmOf(reporter, scene.cluster, blob))
    await sleep(OVERTAKEN_MS)
    registry.isDown = false
    await expect(askPull(reporter, scene.cluster, blob)).resolves.toMatchObject({ refused: [] })
    expect(scene.logged.filter(({ code }) => code === 'HASH_LIE')).toEqual([])
    await expectHonestNodePulls()
  },
  30_000,
)

attackTest(
  'an accuser that repeats an overtaken report does not make the tracker ask the registry each time',
  async () => {
    const { blob, reporter } = await startWithPublished()
    const { registry } = scene.cluster
    const swarm = swarmOf(reporter, scene.cluster, blob)
    registry.isDown = true
    await reportWrongPiece(reporter, swarm)
    await sleep(OVERTAKEN_MS)
    registry.isDown = false
    const sentBefore = registry.sentBytes.get(blob.digest)
    for (let times = 0; times < 5; times += 1) await reportWrongPiece(reporter, swarm)
    await sleep(OVERTAKEN_MS)
    expect(registry.sentBytes.get(blob.digest)).toBe(sentBefore)
    await expectHonestNodePulls()
  },
  30_000,
)
