import { createPrivateKey } from 'node:crypto'
import { expect } from 'vitest'
import { makeKey } from '../../client/membership/node-identity.ts'
import type { TrackerClient } from '../../client/membership/tracker-client.ts'
import { spkiOf } from '../../core/issue-certificate.ts'
import { type NodeId, nodeIdOf } from '../../core/metainfo.ts'
import type { Cluster } from '../../tracker/authority/cluster.ts'
import { unwatchedTracker } from '../client/membership/unwatched-tracker.ts'
import { enrol, type Member, mint, stealAuthority } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { askPull } from './liar.ts'
import { loot } from './loot.ts'
import { expectUnharmed, useTarget } from './target.ts'

/** Somebody has the key of the cluster's authority, and wants a certificate of the next one for it. */
const target = useTarget()

/** Three missed heartbeats of a second, and one for the nodes to renew. */
const SETTLED_MS = 4500
const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))
const authorities = () => `/admin/v1/clusters/${target.member.cluster}/authorities`
const withdraw = (isForced: boolean) => target.cluster.admin(`${authorities()}/withdrawal`, { isForced })

const publicKeyOf = ({ nodeCertificate }: Member) =>
  spkiOf(createPrivateKey(nodeCertificate.privateKeyPem)).toString('base64url')

let stolen: Cluster
let forger: { tracker: TrackerClient; publicKey: string }

/** Renews without a join token; a certificate that comes of it is loot. @returns the code of the refusal */
async function renewalOf({ tracker }: Pick<Member, 'tracker'>, publicKey: string) {
  try {
    loot.bytes += (await tracker.join({ publicKey })).certificate.length
    return undefined
  } catch (error) {
    return (error as { trackerCode?: string }).trackerCode
  }
}

/** @param names whom the forged certificate names; absent: whose id the key has */
function forge(names?: NodeId): typeof forger {
  const key = makeKey()
  const { certificate } = stolen.authorities[0]!.issue({
    claims: { kind: 'node', cluster: stolen.cluster, node: names ?? nodeIdOf(key.spki) },
    spki: key.spki,
    nowMs: Date.now(),
    validForSeconds: 3600,
  })
  const tracker = unwatchedTracker(target.cluster.nodeOptions('forger') as never)
  tracker.identify({ certificatePem: certificate, privateKeyPem: key.privateKeyPem })
  return { tracker, publicKey: key.spki.toString('base64url') }
}

attackTest('a certificate for a key that never joined is not renewed, by whatever authority', async () => {
  stolen = await stealAuthority(target.cluster, target.member.cluster)
  forger = forge()
  expect(await renewalOf(forger, forger.publicKey)).toBe('CERTIFICATE_REFUSED')
  expect((await target.cluster.admin(authorities(), {})).status).toBe(201)
  await sleep(SETTLED_MS)
  expect(await renewalOf(forger, forger.publicKey)).toBe('CERTIFICATE_REFUSED')
  // Nor does it get one of the other kinds, which the new authority would issue.
  const serving = forger.tracker.heartbeat({
    ...{ listenPort: 9, isFullInventory: true, holds: [], dropped: [], wantsPeers: [], badPeers: [] },
    ...{ servePublicKey: forger.publicKey, revocationsVersion: 0 },
  })
  await expect(serving).rejects.toMatchObject({ trackerCode: 'CERTIFICATE_REFUSED' })
  const { tracker } = forger
  await expect(askPull({ tracker } as Member, target.cluster, target.blob)).rejects.toMatchObject({
    trackerCode: 'CERTIFICATE_REFUSED',
  })
})

attackTest('a certificate that names a member, for another key, opens nothing', async () => {
  const { cluster, member, blob } = target
  const impostor = forge(member.node)
  expect(await renewalOf(impostor, impostor.publicKey)).toBe('CERTIFICATE_REFUSED')
  await impostor.tracker.close()
  member.tracker.identify(mint(stolen, { kind: 'node', cluster: member.cluster, node: member.node }))
  await expect(member.pull(cluster, blob)).rejects.toMatchObject({ trackerCode: 'CERTIFICATE_REFUSED' })
})

attackTest('nor is it renewed once its authority is withdrawn', async () => {
  expect((await withdraw(true)).status).toBe(200)
  expect(await renewalOf(forger, forger.publicKey)).toBe('CERTIFICATE_REFUSED')
  await forger.tracker.close()
})

controlTest(
  'who joined with the join token renews without it, also while the authority is changed',
  async () => {
    const member = await enrol(target.cluster)
    const publicKey = publicKeyOf(member)
    expect(await renewalOf(member, publicKey)).toBeUndefined()
    await member.tracker.close()
  },
)

attackTest(
  'after a leak that is said to be one no certificate of the old authority is renewed at all',
  async () => {
    const member = await enrol(target.cluster)
    expect((await target.cluster.admin(authorities(), { isLeaked: true })).status).toBe(201)
    const publicKey = publicKeyOf(member)
    expect(await renewalOf(member, publicKey)).toBe('CERTIFICATE_REFUSED')
    await sleep(SETTLED_MS)
    expect(await renewalOf(member, publicKey)).toBe('CERTIFICATE_REFUSED')
    // The honest node has joined again of itself: nobody is waited for.
    expect((await withdraw(false)).status).toBe(200)
    await member.tracker.close()
  },
)

expectUnharmed(target)
