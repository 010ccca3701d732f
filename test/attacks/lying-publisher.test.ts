import { afterEach, expect, test } from 'vitest'
import { type HostileUploader, startHostileUploader } from '../pull/hostile-uploader.ts'
import { pull, randomBlob, startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { enrol, type Member, swarmOf } from './attacker.ts'
import { hashOf, PIECE_BYTES, pieceOf, publishLie } from './liar.ts'

/** A member that holds a lease, publishes the hash of bytes of its own for the first piece, and serves those. */
let cluster: TestCluster
let uploader: HostileUploader | undefined
const members: Member[] = []
afterEach(async () => {
  await uploader?.close()
  for (const member of members.splice(0)) await member.tracker.close()
  await cluster?.close()
})
async function newMember(): Promise<Member> {
  const member = await enrol(cluster)
  members.push(member)
  return member
}

/** Reads as Docker does. @returns what was delivered, and the code with which it was cut */
async function readBy(act: () => Promise<void>, blob: TestBlob) {
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

async function startLie(): Promise<{ blob: TestBlob; lie: TestBlob }> {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)
  const lie = await publishLie(await newMember(), cluster, blob)
  uploader = await startHostileUploader(cluster, lie, 'first-piece')
  return { blob, lie }
}

test('a lie that was delivered before its hash was withdrawn never becomes a whole answer', async () => {
  const { blob, lie } = await startLie()
  const accuse = async () => {
    const accuser = await newMember()
    await accuser.pull(cluster, blob)
    const hash = hashOf(pieceOf(blob, 0)).toString('base64url')
    await accuser.tracker.mismatch(swarmOf(accuser, cluster, blob), {
      epoch: 0,
      pieces: [{ piece: 0, hash }],
    })
  }
  const read = await readBy(accuse, blob)
  expect(read.bytes.subarray(0, PIECE_BYTES).equals(pieceOf(lie, 0))).toBe(true)
  expect(read.code).toBe('BLOB_DISTRUSTED')
  expect(read.bytes.length).toBeLessThan(blob.bytes.length)
  expect((await pull(cluster.nodes[0]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}, 20_000)

test('a lie that was delivered before the swarm failed never becomes a whole answer by the rest from the registry', async () => {
  const { blob } = await startLie()
  const fail = async () => {
    const { swarms } = cluster.nodes[0]!.client as unknown as {
      swarms: { remove(swarm: string): Promise<void> }
    }
    await swarms.remove(swarmOf(members[0]!, cluster, blob))
  }
  const read = await readBy(fail, blob)
  expect(read.code).toBe('BLOB_DISTRUSTED')
  expect(read.bytes.length).toBeLessThan(blob.bytes.length)
}, 20_000)

test('without a lie the rest from the registry makes the answer whole', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)
  cluster.registry.chunkPauseMs = 20
  const fail = async () => {
    const { swarms } = cluster.nodes[0]!.client as unknown as {
      swarms: { remove(swarm: string): Promise<void> }
    }
    await swarms.remove(swarmOf(await newMember(), cluster, blob))
  }
  const read = await readBy(fail, blob)
  expect(read.bytes.equals(blob.bytes)).toBe(true)
}, 20_000)
