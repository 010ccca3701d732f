import { expect } from 'vitest'
import type { Lease } from '../../core/tracker-api.ts'
import { pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import type { Member } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { askPull, lieAbout, PIECE_BYTES, publishLease } from './liar.ts'
import { expectConvicted, useScene } from './scene.ts'

/** Two members publish different hashes of one piece. The tracker believes neither, and asks the registry. */
const scene = useScene()
const LEASE_SECONDS = 2
/** From half its time on a lease that makes no progress is given to a second node as well. */
const SLOW_MS = LEASE_SECONDS * 600

interface Side {
  member: Member
  pull: string
  lease: Lease
}

/** Both hold a lease of the blob's only piece. */
async function startWithTwoHolders(): Promise<{ blob: TestBlob; sides: [Side, Side] }> {
  await scene.start({ leaseSeconds: LEASE_SECONDS })
  const { cluster } = scene
  const blob = cluster.registry.add(randomBlob(PIECE_BYTES).bytes)
  const first = await take(blob)
  await new Promise((resolve) => setTimeout(resolve, SLOW_MS))
  return { blob, sides: [first, await take(blob)] }
}

async function take(blob: TestBlob): Promise<Side> {
  const member = await scene.newMember()
  const { pull, swarms } = await askPull(member, scene.cluster, blob)
  const lease = swarms[0]!.lease!
  expect(lease).toMatchObject({ firstPiece: 0, pieces: 1 })
  return { member, pull, lease }
}

async function expectRightBytes(blob: TestBlob): Promise<void> {
  const { cluster } = scene
  expect((await pull(cluster.nodes[0]!, cluster.request(blob))).equals(blob.bytes)).toBe(true)
}

for (const [who, liarAt] of [
  ['the first', 0],
  ['the second', 1],
] as const) {
  attackTest(`of two publishers in conflict ${who} lies: it is revoked, the other is not`, async () => {
    const { blob, sides } = await startWithTwoHolders()
    const { cluster } = scene
    const said = sides.map((_, at) => (at === liarAt ? lieAbout(blob) : blob))
    await publishLease(sides[0].member, cluster, { ...sides[0], as: said[0]! })
    await expect(publishLease(sides[1].member, cluster, { ...sides[1], as: said[1]! })).rejects.toMatchObject(
      { trackerCode: 'HASH_CONFLICT' },
    )
    await expectConvicted(scene, sides[liarAt].member, blob)
    const honest = sides[1 - liarAt]!.member
    await expect(askPull(honest, cluster, blob)).resolves.toMatchObject({ refused: [] })
    await expectRightBytes(blob)
  })
}

attackTest(
  'of two publishers in conflict both lie: neither is believed, and the bytes are right',
  async () => {
    const { blob, sides } = await startWithTwoHolders()
    const { cluster } = scene
    const [one, two] = sides
    await publishLease(one.member, cluster, { ...one, as: lieAbout(blob) })
    const other = { ...blob, bytes: Buffer.alloc(blob.bytes.length, 0xdd) }
    await expect(publishLease(two.member, cluster, { ...two, as: other })).rejects.toMatchObject({
      trackerCode: 'HASH_CONFLICT',
    })
    await expectRightBytes(blob)
  },
)
