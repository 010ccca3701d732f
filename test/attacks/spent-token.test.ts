import { expect } from 'vitest'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { type Member, type Surroundings, swarmOf } from './attacker.ts'
import { attackTest } from './ledger.ts'
import {
  askPull,
  hashOf,
  PIECE_BYTES,
  pieceOf,
  publishLease,
  publishLie,
  refusalOf,
  slander,
} from './liar.ts'
import { expectConvicted, useScene } from './scene.ts'

/** Liars who would rather not have the tracker look into the registry, and come back when it did. */
const scene = useScene()

const nowSeconds = () => Math.floor(Date.now() / 1000)
const signed = (changes: Record<string, unknown> = {}) => {
  const { signer } = scene.cluster
  return signer.sign(pullClaims(REPOSITORY, changes), { jwk: signer.publicJwk } as never)
}
/** Under a configured key the tracker still takes it, by its leeway of a minute; the registry does not. */
const spentToken = () => signed({ nbf: nowSeconds() - 320, exp: nowSeconds() - 20 })
const newBlob = () => scene.cluster.registry.add(randomBlob(4 * PIECE_BYTES + 5).bytes)

/** As the cluster, for somebody who always shows this token. */
const withToken = (token: string): Surroundings => ({
  nodeOptions: scene.cluster.nodeOptions,
  request: (blob) => scene.cluster.request(blob, { credential: { scheme: 'bearer', token } }),
})

function report({ tracker }: Member, swarm: ReturnType<typeof swarmOf>, blob: TestBlob) {
  const hash = hashOf(pieceOf(blob, 0)).toString('base64url')
  return tracker.mismatch(swarm, { epoch: 0, pieces: [{ piece: 0, hash }] })
}

attackTest(
  'a publisher of a wrong hash who pulled last, with a token that is over, is convicted all the same',
  async () => {
    await scene.start({ configuresKeys: true })
    const { cluster } = scene
    const blob = newBlob()
    const [liar, accuser] = [await scene.newMember(), await scene.newMember()]
    await publishLie(liar, cluster, blob)
    await accuser.pull(cluster, blob)
    await liar.pull(cluster, blob, spentToken())
    await report(accuser, swarmOf(accuser, cluster, blob), blob)
    await expectConvicted(scene, liar, blob)
    expect(await refusalOf(accuser, cluster, blob)).toBeUndefined()
  },
  30_000,
)

attackTest(
  'a slanderer whose names have all pulled last, with tokens that are over, is convicted, and the publisher is not',
  async () => {
    await scene.start({ configuresKeys: true })
    const { cluster } = scene
    const blob = newBlob()
    const honest = await scene.newMember()
    const { pull, swarms } = await askPull(honest, cluster, blob)
    for (let lease = swarms[0]!.lease; lease !== null; )
      lease = await publishLease(honest, cluster, { pull, lease, as: blob })
    const slanderer = await scene.newMember()
    for (let names = 0; names < 4; names += 1) {
      await (await scene.newMember()).pull(cluster, blob, spentToken())
    }
    await slanderer.pull(cluster, blob, spentToken())
    await slander(slanderer, cluster, blob)
    await expectConvicted(scene, slanderer, blob)
    expect(await refusalOf(honest, cluster, blob)).toBeUndefined()
  },
  30_000,
)

attackTest(
  'a convicted node that joins anew is refused with its token, and others of its account are not',
  async () => {
    await scene.start()
    const { cluster } = scene
    const blob = newBlob()
    const [liar, accuser] = [await scene.newMember(), await scene.newMember()]
    const token = signed()
    await publishLie(liar, withToken(token), blob)
    await accuser.pull(cluster, blob)
    await report(accuser, swarmOf(accuser, cluster, blob), blob)
    await expectConvicted(scene, liar, blob)
    const again = await scene.newMember()
    expect(await refusalOf(again, withToken(token), blob)).toBe('PULL_REVOKED')
    // All tokens here are of one subject.
    expect(await refusalOf(accuser, cluster, blob)).toBeUndefined()
  },
  30_000,
)
