import { expect } from 'vitest'
import { pull, randomBlob, type TestBlob, type TestNode } from '../pull/test-cluster.ts'
import { type Member, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { askPull, hashOf, lieAbout, PIECE_BYTES, pieceOf, publishLie, vouch } from './liar.ts'
import { expectConvicted, useScene } from './scene.ts'

/**
 * One machine with one join token is as many nodes as it likes: one of them publishes the hashes of a lie, two say that they
 * matched the whole blob. From then on nodes take the hashes for confirmed and need not hash the whole.
 */
const scene = useScene()
const PATIENCE_MS = 30_000

async function startVouchedLie(): Promise<{ blob: TestBlob; lie: TestBlob; liar: Member }> {
  await scene.start()
  const blob = scene.cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)
  const liar = await scene.newMember()
  const accomplice = await scene.newMember()
  const lie = await publishLie(liar, scene.cluster, blob)
  await askPull(accomplice, scene.cluster, blob)
  for (const member of [liar, accomplice]) await vouch(member, scene.cluster, blob)
  return { blob, lie, liar }
}

/** @returns the bytes of a whole answer, or the code with which there was none */
async function outcomeOf(node: TestNode, blob: TestBlob): Promise<Buffer | string> {
  return pull(node, scene.cluster.request(blob)).catch((error: { code: string }) => error.code)
}

attackTest(
  'an audited node finds out before the end of its answer, and the publisher is revoked',
  async () => {
    const { blob, lie, liar } = await startVouchedLie()
    await scene.serve(lie)
    const auditor = await scene.cluster.addNode({ client: { auditedShare: 1 } })
    expect(await outcomeOf(auditor, blob)).toBe('BLOB_DISTRUSTED')
    await expectConvicted(scene, liar, blob)
    expect(await outcomeOf(scene.cluster.nodes[0]!, blob)).toEqual(blob.bytes)
  },
  PATIENCE_MS,
)

attackTest(
  'a node that believed it hashes the whole when it is asked again, serves it no more, and the publisher is revoked',
  async () => {
    const { blob, lie, liar } = await startVouchedLie()
    await scene.serve(lie)
    const [node] = scene.cluster.nodes
    // What two nodes vouch for is believed once: Docker compares it with the digest, and asks again.
    expect(await outcomeOf(node!, blob)).toEqual(lieAbout(blob).bytes)
    expect(await outcomeOf(node!, blob)).toBe('BLOB_DISTRUSTED')
    await expectConvicted(scene, liar, blob)
    const other = await scene.cluster.addNode()
    expect(await outcomeOf(other, blob)).toEqual(blob.bytes)
  },
  PATIENCE_MS,
)

attackTest(
  'a node that believed it drops its copy when the hash is withdrawn, without being asked again',
  async () => {
    const { blob, lie, liar } = await startVouchedLie()
    await scene.serve(lie)
    const [node] = scene.cluster.nodes
    expect(await outcomeOf(node!, blob)).toEqual(lie.bytes)
    const isKept = () =>
      node!.client.progress().some(({ digest, state }) => digest === blob.digest && state === 'complete')
    expect(isKept()).toBe(true)
    const reporter = await scene.newMember()
    await askPull(reporter, scene.cluster, blob)
    const pieces = [{ piece: 0, hash: hashOf(pieceOf(blob, 0)).toString('base64url') }]
    await reporter.tracker.mismatch(swarmOf(reporter, scene.cluster, blob), { epoch: 0, pieces })
    await expectConvicted(scene, liar, blob)
    await expect.poll(isKept, { timeout: 10_000 }).toBe(false)
  },
  PATIENCE_MS,
)

attackTest(
  'the registry has another piece than the vouched hash says: that is told, and the publisher is revoked',
  async () => {
    const { blob, liar } = await startVouchedLie()
    expect(await outcomeOf(scene.cluster.nodes[0]!, blob)).toBe('BLOB_DISTRUSTED')
    await expectConvicted(scene, liar, blob)
    const other = await scene.cluster.addNode()
    expect(await outcomeOf(other, blob)).toEqual(blob.bytes)
  },
  PATIENCE_MS,
)
