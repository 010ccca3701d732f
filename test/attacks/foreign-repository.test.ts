import { expect } from 'vitest'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { Repository } from '../../core/repository.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { progressOf, pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { attackTest } from './ledger.ts'
import { BLOB_BYTES, expectLogged, expectUnharmed, useTarget } from './target.ts'

/** A user of the registry with rights to another repository only, who is after a blob that a node holds. */
const target = useTarget()
const OTHER = 'team/other' as Repository

/** In `team/app` alone, and at the holder. */
async function privateBlob(): Promise<TestBlob> {
  const { cluster, holder } = target
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes, REPOSITORY)
  await pull(holder, cluster.request(blob))
  return blob
}

const tokenForOther = () =>
  target.cluster.signer.sign(pullClaims(OTHER), { jwk: target.cluster.signer.publicJwk })

function askTracker(blob: TestBlob, repository: Repository) {
  const { registry } = target.cluster.request(blob)
  return target.member.tracker.pull(
    {
      registry,
      repository,
      credential: { scheme: 'bearer', token: tokenForOther() },
      publicKey: makeKey().spki.toString('base64url'),
      listenPort: 9,
      blobs: [{ digest: blob.digest, bytes: blob.bytes.length, isWanted: false }],
    },
    10_000,
  )
}

attackTest('the tracker grants no blob that is not in the repository which the token names', async () => {
  const blob = await privateBlob()
  const mark = target.logged.length
  await expect(askTracker(blob, OTHER)).rejects.toMatchObject({ trackerCode: 'BLOB_NOT_IN_REPOSITORY' })
  await expectLogged(target, mark, 'BLOB_NOT_IN_REPOSITORY')
})

attackTest('the tracker grants nothing in the repository which the token does not name', async () => {
  const blob = await privateBlob()
  const mark = target.logged.length
  await expect(askTracker(blob, REPOSITORY)).rejects.toMatchObject({ trackerCode: 'TOKEN_SCOPE' })
  await expectLogged(target, mark, 'TOKEN_SCOPE')
})

for (const [where, repository, trackerCode] of [
  ['its own repository', OTHER, 'BLOB_NOT_IN_REPOSITORY'],
  ["the blob's repository", REPOSITORY, 'TOKEN_SCOPE'],
] as const) {
  attackTest(
    `a node whose user has no right to the blob gets it from no peer, asking for it in ${where}`,
    async () => {
      const { cluster, holder } = target
      const blob = await privateBlob()
      const attacker = await cluster.addNode({ name: `attacker-${repository.replace('/', '-')}` })
      const credential = { scheme: 'bearer', token: tokenForOther() } as const
      const asking = pull(attacker, cluster.request(blob, { repository, credential }))
      await expect(asking).rejects.toMatchObject({ code: 'TRACKER_REFUSED', trackerCode })
      expect(progressOf(attacker, blob)?.bytesFromPeers ?? 0).toBe(0)
      expect(progressOf(holder, blob).bytesToPeers).toBe(0)
      await attacker.stop()
    },
  )
}

expectUnharmed(target)
