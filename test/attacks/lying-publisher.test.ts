import { expect, test } from 'vitest'
import { pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { askPull, hashOf, PIECE_BYTES, pieceOf, publishLie, vouch } from './liar.ts'
import { useScene } from './scene.ts'

/** A member that holds a lease, publishes the hash of bytes of its own for the first piece, and serves those. */
const scene = useScene()
const PATIENCE_MS = 20_000

/** Reads as Docker does. @returns what was delivered, and the code with which it was cut */
async function readBy(act: () => Promise<void>, blob: TestBlob) {
  const { cluster } = scene
  const open = await cluster.nodes[0]!.client.open(cluster.request(blob))
  const got: Buffer[] = []
  try {
    for await (const chunk of open.read(0, open.bytes)) {
      got.push(Buffer.from(chunk))
      if (got.length === 1) await act()
    }
    return { bytes: Buffer.concat(got), code: undefined }
  } catch (error) {
    return { bytes: Buffer.concat(got), code: (error as { code: string }).code }
  } finally {
    open.close()
  }
}

/** As if the node had lost the swarm. */
async function dropSwarm(swarm: string): Promise<void> {
  const { swarms } = scene.cluster.nodes[0]!.client as unknown as {
    swarms: { remove(swarm: string): Promise<void> }
  }
  await swarms.remove(swarm)
}

/** @param isVouched two members say that the lie is the blob, so that its hashes are confirmed */
async function startLie({ isVouched = false } = {}) {
  await scene.start()
  const blob = scene.cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)
  const liar = await scene.newMember()
  const lie = await publishLie(liar, scene.cluster, blob)
  await scene.serve(lie)
  if (isVouched) {
    const accomplice = await scene.newMember()
    await askPull(accomplice, scene.cluster, blob)
    for (const member of [liar, accomplice]) await vouch(member, scene.cluster, blob)
  }
  return { blob, lie, swarm: swarmOf(liar, scene.cluster, blob) }
}

/** Cut, with its code; and the node goes on. */
async function expectCut(read: { bytes: Buffer; code: string | undefined }, blob: TestBlob): Promise<void> {
  expect(read.code).toBe('BLOB_DISTRUSTED')
  expect(read.bytes.length).toBeLessThan(blob.bytes.length)
  const { cluster } = scene
  const other = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  expect((await pull(cluster.nodes[0]!, cluster.request(other))).equals(other.bytes)).toBe(true)
}

attackTest(
  'a lie that was delivered before its hash was withdrawn never becomes a whole answer',
  async () => {
    const { blob, lie, swarm } = await startLie()
    const reportWrongPiece = async () => {
      const accuser = await scene.newMember()
      await accuser.pull(scene.cluster, blob)
      const hash = hashOf(pieceOf(blob, 0)).toString('base64url')
      await accuser.tracker.mismatch(swarm, { epoch: 0, pieces: [{ piece: 0, hash }] })
    }
    const read = await readBy(reportWrongPiece, blob)
    expect(read.bytes.subarray(0, PIECE_BYTES).equals(pieceOf(lie, 0))).toBe(true)
    await expectCut(read, blob)
    const { nodes, request } = scene.cluster
    expect((await pull(nodes[0]!, request(blob))).equals(blob.bytes)).toBe(true)
  },
  PATIENCE_MS,
)

for (const isVouched of [false, true]) {
  attackTest(
    `a lie that ${isVouched ? 'two vouched for and that ' : ''}was delivered before the swarm failed never becomes a whole answer by the rest from the registry`,
    async () => {
      const { blob, swarm } = await startLie({ isVouched })
      await expectCut(await readBy(() => dropSwarm(swarm), blob), blob)
    },
    PATIENCE_MS,
  )
}

test(
  'without a lie the rest from the registry makes the answer whole',
  async () => {
    await scene.start()
    const { cluster } = scene
    const blob = cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)
    cluster.registry.chunkPauseMs = 20
    const member = await scene.newMember()
    const read = await readBy(() => dropSwarm(swarmOf(member, cluster, blob)), blob)
    expect(read.bytes.equals(blob.bytes)).toBe(true)
  },
  PATIENCE_MS,
)
