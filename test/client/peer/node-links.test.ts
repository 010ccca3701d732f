import { createPrivateKey } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { PeerProtocolError } from '../../../client/errors.ts'
import { makeKey } from '../../../client/membership/node-identity.ts'
import { makeAuthority, spkiOf } from '../../../core/issue-certificate.ts'
import { closeEnds, issue, startEnd, type TestEnd, type TestHost } from './link-ends.ts'

/** One link between two nodes, over real sockets: what is shared on it, and what ends what. */

afterEach(closeEnds)
const BLOCK = 128 * 1024

async function pair(options = {}): Promise<{ holder: TestEnd; downloader: TestEnd }> {
  return { holder: await startEnd(options), downloader: await startEnd(options) }
}

/** A blob at both, which the downloader wants under a pull of its own or the given one. */
async function wanted(
  { holder, downloader }: { holder: TestEnd; downloader: TestEnd },
  blob: number,
  grant = downloader.grant([blob]),
): Promise<{ seed: TestHost; leech: TestHost }> {
  const seed = holder.host(blob, { isSeed: true })
  const leech = downloader.host(blob, { isSeed: false })
  leech.held = await grant
  downloader.links.want(holder.peer, leech)
  return { seed, leech }
}

const eventually = (host: TestHost, event: string) =>
  expect.poll(() => host.events, { timeout: 3000 }).toContain(event)

function ask(host: TestHost, blocks = 2): void {
  for (const { link } of host.sources.values())
    for (let at = 0; at < blocks; at++)
      link.request({ piece: at >> 1, begin: (at % 2) * BLOCK, length: BLOCK })
}

test('a node downloads a blob over a link, and tells its holder what it has', async () => {
  const ends = await pair()
  const { seed, leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  expect(leech.events).toEqual(['open', 'all offered', 'unchoked'])
  ask(leech, 4)
  await expect.poll(() => leech.receivedBytes).toBe(4 * BLOCK)
  const [source] = leech.sources.values()
  source!.link.announce([], [1 as never])
  await expect.poll(() => [...(seed.told.get(ends.downloader.node) ?? [])]).toEqual([1])
  expect([...seed.served].map(({ lane }) => lane.isRead)).toEqual([true])
})

test('sixty blobs of one pull use one connection and one proof', async () => {
  const ends = await pair()
  const blobs = Array.from({ length: 60 }, (_, at) => at + 1)
  const grant = ends.downloader.grant(blobs)
  const hosts = await Promise.all(blobs.map((blob) => wanted(ends, blob, grant)))
  for (const { leech } of hosts) await eventually(leech, 'unchoked')
  for (const { leech } of hosts) ask(leech)
  for (const { leech } of hosts) await expect.poll(() => leech.receivedBytes).toBe(2 * BLOCK)
  expect(ends.downloader.links.dialledCount).toBe(1)
  expect(ends.holder.proofs).toBe(1)
})

test('two pulls share a link; each is proven once, and the end of one closes its blobs only', async () => {
  const ends = await pair()
  const one = await wanted(ends, 1, ends.downloader.grant([1], { pullId: 'a'.repeat(32) }))
  const two = await wanted(ends, 2)
  await eventually(one.leech, 'unchoked')
  await eventually(two.leech, 'unchoked')
  expect(ends.holder.proofs).toBe(2)
  ends.holder.trust.revoke(1, [{ kind: 'pull', pull: 'a'.repeat(32) }], false)
  ends.holder.links.recheck()
  await eventually(one.leech, 'choked')
  ask(one.leech)
  ask(two.leech)
  await expect.poll(() => two.leech.receivedBytes).toBe(2 * BLOCK)
  await eventually(one.leech, 'rejected')
  expect(one.leech.receivedBytes).toBe(0)
  expect(two.leech.events).not.toContain('choked')
})

test('a blob that no pull names, and one that is not there, get the same answer', async () => {
  const ends = await pair()
  const { leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  // The pull is for another blob than the one that is asked for.
  const other = await wanted(ends, 2, ends.downloader.grant([3]))
  await eventually(other.leech, 'closed')
  const missing = ends.downloader.host(4, { isSeed: false })
  missing.held = await ends.downloader.grant([4])
  ends.downloader.links.want(ends.holder.peer, missing)
  await eventually(missing, 'closed')
  expect(missing.events).toEqual(other.leech.events)
  expect(other.seed.events).toEqual([])
})

test('a pull that ends chokes its blobs, and its renewal needs no proof', async () => {
  const ends = await pair()
  const key = makeKey()
  const pullId = 'b'.repeat(32)
  const grant = await ends.downloader.grant([1], { pullId, key, validForSeconds: 2 })
  const { leech } = await wanted(ends, 1, Promise.resolve(grant))
  await eventually(leech, 'unchoked')
  const renewed = await ends.downloader.grant([1], { pullId, key })
  grant.credential = renewed.credential
  ends.downloader.links.renewed(grant)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(leech.events).not.toContain('choked')
  ask(leech)
  await expect.poll(() => leech.receivedBytes).toBe(2 * BLOCK)
  expect(ends.holder.proofs).toBe(1)
})

test('a pull that needed no proof is closed when its registry turns out to want a credential', async () => {
  const ends = await pair()
  ends.holder.admission.needsProof = false
  const { leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  expect(ends.holder.proofs).toBe(0)
  ends.holder.admission.needsProof = true
  ends.holder.links.recheck()
  await eventually(leech, 'choked')
  ask(leech)
  await eventually(leech, 'rejected')
  expect(leech.receivedBytes).toBe(0)
})

test('a pull of an authority that the holder does not know yet is refused, and the link goes on', async () => {
  const ends = await pair()
  const { leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  const issuer = await makeAuthority({ commonName: 'another', validForSeconds: 600 })
  const other = await wanted(ends, 2, ends.downloader.grant([2], { issuer }))
  await eventually(other.leech, 'closed')
  ask(leech)
  await expect.poll(() => leech.receivedBytes).toBe(2 * BLOCK)
  expect(leech.events).not.toContain('closed')
})

test('a node whose piece was wrong is refused that blob, in both directions, and keeps the others', async () => {
  const ends = await pair()
  const one = await wanted(ends, 1)
  const two = await wanted(ends, 2)
  await eventually(one.leech, 'unchoked')
  await eventually(two.leech, 'unchoked')
  one.seed.banned = ends.downloader.node
  const [source] = one.leech.sources.values()
  source!.link.close(new PeerProtocolError('a wrong piece'))
  await eventually(one.seed, 'closed')
  ends.downloader.links.want(ends.holder.peer, one.leech)
  await expect.poll(() => one.leech.events.filter((event) => event.startsWith('closed'))).toHaveLength(2)
  ask(two.leech)
  await expect.poll(() => two.leech.receivedBytes).toBe(2 * BLOCK)
})

test('a revoked node loses its link', async () => {
  const ends = await pair()
  const { leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  ends.holder.trust.revoke(1, [{ kind: 'node', node: ends.downloader.node }], false)
  ends.holder.links.recheck()
  await eventually(leech, 'closed')
  expect(ends.downloader.links.dialledCount).toBe(0)
})

test('a link is replaced before its certificate ends, and what is wanted goes on over the new one', async () => {
  const ends = await pair({ linkSeconds: 4 })
  const { leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  for (const end of Object.values(ends)) {
    const fresh = await issue(
      { kind: 'link', cluster: end.trust.cluster!, node: end.node },
      { key: keyOf(end) },
    )
    end.credential = end.trust.credential(fresh.certificatePem, fresh.privateKeyPem, 600)
  }
  await expect.poll(() => leech.events.filter((event) => event === 'open').length, { timeout: 8000 }).toBe(2)
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  ask(leech)
  await expect.poll(() => leech.receivedBytes).toBe(2 * BLOCK)
})

test('where a node cannot be dialled, the link that it dialled carries both directions', async () => {
  const ends = await pair()
  const { seed, leech } = await wanted(ends, 1)
  await eventually(leech, 'unchoked')
  expect(seed.downloaders).toMatchObject([{ node: ends.downloader.node, port: ends.downloader.peer.port }])
  const back = { holder: ends.downloader, downloader: ends.holder }
  const seedThere = back.holder.host(2, { isSeed: true })
  const leechHere = back.downloader.host(2, { isSeed: false })
  leechHere.held = await back.downloader.grant([2])
  back.downloader.links.want({ ...back.holder.peer, port: 1 }, leechHere)
  await eventually(leechHere, 'unchoked')
  ask(leechHere)
  await expect.poll(() => leechHere.receivedBytes).toBe(2 * BLOCK)
  expect(seedThere.events).toContain('serving')
})

function keyOf({ certificate }: TestEnd) {
  return {
    privateKeyPem: certificate.privateKeyPem,
    spki: spkiOf(createPrivateKey(certificate.privateKeyPem)),
  }
}
