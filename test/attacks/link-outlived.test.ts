import { expect } from 'vitest'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { NodeId } from '../../core/metainfo.ts'
import type { Repository } from '../../core/repository.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { progressOf, pull as pullBlob, randomBlob } from '../pull/test-cluster.ts'
import {
  enrol,
  type Member,
  mint,
  proverFor,
  pullClaimsFor,
  revoke,
  spkiOf,
  stealAuthority,
  swarmOf,
} from './attacker.ts'
import { attackTest } from './ledger.ts'
import { acceptLinks, LinkLine } from './link-attacker.ts'
import { expectLogged, expectUnharmed, useTarget } from './target.ts'

/** Members whose links stay open longer than what they rested on, and holders who turn on those that dial them. */
const target = useTarget()
const PULL_SECONDS = 4

const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

async function dial(member: Member, shown?: KeyedCertificate): Promise<LinkLine> {
  const certificate = shown ?? (await member.link())
  const { authorities } = member
  const { port } = target.holder.client.peerAddress
  const holder = target.holder.client.status().joined!.node as NodeId
  const line = LinkLine.dial({ port, holder, authorities, member, certificate })
  expect(await line.ready).toBe(true)
  line.sendHandshakes()
  return line
}

/** A swarm that is open on the link of its pull, and served: what the attacker had until now was its due. */
async function openBlob(
  line: LinkLine,
  certificate: KeyedCertificate,
  token: string,
  swarm = target.swarm,
): Promise<void> {
  line.sendPull(line.opening(certificate, proverFor(target.cluster, token)))
  line.ask(swarm)
  await expect.poll(() => line.blockBytes, { timeout: 5_000 }).toBe(4 * 16_384)
  line.forget()
}

function askOn(line: LinkLine, number = 1): void {
  for (let at = 0; at < 4; at++)
    line.send({ type: 'request', piece: 1, begin: at * 16_384, length: 16_384 }, number)
}

attackTest('a pull that has ended opens nothing more on its link, and the link goes on', async () => {
  const [member, token] = [await enrol(target.cluster), realToken()]
  const authority = await stealAuthority(target.cluster, member.cluster)
  const claims = pullClaimsFor(target.cluster, member, target.blob, { token })
  const line = await dial(member)
  await openBlob(line, mint(authority, claims, PULL_SECONDS), token)
  await expect.poll(() => line.refusedPulls, { timeout: 2 * PULL_SECONDS * 1_000 }).toEqual([claims.pullId])
  askOn(line)
  line.ask(target.swarm, 3)
  await sleep(500)
  expect(line.blockBytes).toBe(0)
  expect(line.closedNumbers).toEqual([3])
  expect(line.given.slice(-4)).toEqual(Array(4).fill('reject'))
  expect(line.socket.destroyed).toBe(false)
  line.destroy()
  await member.tracker.close()
})

attackTest('a pull that is revoked is closed on its link, and is not opened again', async () => {
  const { signer } = target.cluster
  // The revocation bars whoever the token is for.
  const token = signer.sign(pullClaims(REPOSITORY, { sub: 'mallory' }), { jwk: signer.publicJwk })
  const member = await enrol(target.cluster)
  const { certificate, answer } = await member.pull(target.cluster, target.blob, token)
  const line = await dial(member)
  await openBlob(line, certificate, token)
  const revocation = { cluster: member.cluster, pull: answer.pull }
  expect((await target.cluster.admin('/admin/v1/revocations', revocation)).status).toBe(201)
  await expect.poll(() => line.refusedPulls, { timeout: 5_000 }).toEqual([answer.pull])
  line.sendPull(line.opening(certificate, proverFor(target.cluster, token)))
  askOn(line)
  line.ask(target.swarm, 3)
  await sleep(500)
  expect(line.blockBytes).toBe(0)
  expect(line.refusedPulls).toEqual([answer.pull, answer.pull])
  line.destroy()
  await member.tracker.close()
})

attackTest(
  'a pull of a blocked repository gets nothing more, on its link or another, however long it lasts',
  async () => {
    const { cluster, holder } = target
    const [member, token] = [await enrol(cluster), realToken()]
    // The holder keeps it, for those who are granted it through the repository that it came through here.
    const blob = cluster.registry.add(randomBlob(6_000_000).bytes)
    const elsewhere = 'team/other' as Repository
    const otherToken = cluster.signer.sign(pullClaims(elsewhere), { jwk: cluster.signer.publicJwk })
    const credential = { scheme: 'bearer' as const, token: otherToken }
    await pullBlob(holder, cluster.request(blob, { repository: elsewhere, credential }))
    const swarm = swarmOf(member, cluster, blob)
    const { certificate } = await member.pull(cluster, blob, token)
    const line = await dial(member)
    await openBlob(line, certificate, token, swarm)
    const repository = `${cluster.registry.config.host}/${REPOSITORY}`
    const asked = { cluster: member.cluster, repository }
    const { status, body } = await cluster.admin('/admin/v1/blocks', asked)
    expect(status).toBe(201)
    await Promise.race([line.closed, sleep(5_000)])
    expect(line.socket.destroyed).toBe(true)
    const again = await dial(member)
    again.sendPull(again.opening(certificate, proverFor(cluster, token)))
    again.ask(swarm)
    await expect.poll(() => again.closedNumbers, { timeout: 5_000 }).toEqual([1])
    askOn(again)
    await sleep(500)
    expect(line.blockBytes + again.blockBytes).toBe(0)
    expect(again.refusedPulls).toHaveLength(1)
    expect(progressOf(holder, blob).state).toBe('complete')
    await expect(member.pull(cluster, blob, token)).rejects.toThrow()
    again.destroy()
    const { block } = (body as { block: { block: string } }).block
    expect((await cluster.admin(`/admin/v1/blocks/${block}`, {}, 'DELETE')).status).toBe(200)
    // What the block dropped is there again for the other tests.
    const isShared = async () => (await holder.client.whyNotOpen(cluster.request(target.blob))) === undefined
    await expect.poll(isShared, { timeout: 5_000 }).toBe(true)
    await pullBlob(holder, cluster.request(target.blob))
    await member.tracker.close()
  },
)

attackTest('a node that is revoked loses its link, and dials no other', async () => {
  const [member, token] = [await enrol(target.cluster), realToken()]
  const { certificate } = await member.pull(target.cluster, target.blob, token)
  const link = await member.link()
  const line = await dial(member, link)
  await openBlob(line, certificate, token)
  await revoke(target.cluster, member)
  await Promise.race([line.closed, sleep(5_000)])
  expect(line.socket.destroyed).toBe(true)
  expect(line.blockBytes).toBe(0)
  const mark = target.logged.length
  const again = await dial(member, link)
  again.sendPull(again.opening(certificate, proverFor(target.cluster, token)))
  again.ask(target.swarm)
  await Promise.race([again.closed, sleep(2_000)])
  expect(again.messages).toEqual([])
  await expectLogged(target, mark, 'PEER_REFUSED')
  await member.tracker.close()
})

attackTest('a link ends with the link certificate of the node that dialled it', async () => {
  const [member, token] = [await enrol(target.cluster), realToken()]
  const { certificate } = await member.pull(target.cluster, target.blob, token)
  const authority = await stealAuthority(target.cluster, member.cluster)
  const { privateKeyPem } = member.nodeCertificate
  const { certificate: certificatePem } = authority.authorities[0]!.issue({
    claims: { kind: 'link', cluster: member.cluster, node: member.node },
    spki: spkiOf(member.nodeCertificate),
    nowMs: Date.now(),
    validForSeconds: PULL_SECONDS,
  })
  const line = await dial(member, { certificatePem, privateKeyPem })
  await openBlob(line, certificate, token)
  await Promise.race([line.closed, sleep(2 * PULL_SECONDS * 1_000)])
  expect(line.socket.destroyed).toBe(true)
  expect(line.blockBytes).toBe(0)
  await member.tracker.close()
})

attackTest('a holder gets nothing of those that dial it by the pulls that they show it', async () => {
  const { cluster } = target
  const victim = await cluster.addNode({ name: 'victim' })
  await pullBlob(victim, cluster.request(target.blob))
  const hostile = await enrol(cluster)
  const fresh = cluster.registry.add(randomBlob(6_000_000).bytes)
  const lines: LinkLine[] = []
  const server = await acceptLinks(
    { member: hostile, certificate: await hostile.link(), authorities: hostile.authorities },
    (line) => {
      lines.push(line)
      line.sendHandshakes()
      line.ask(target.swarm, 2)
    },
  )
  const claimed = swarmOf(hostile, cluster, fresh)
  // Only swarms that somebody was granted have holders.
  await hostile.pull(cluster, fresh)
  await hostile.serve(server.port, [claimed, target.swarm], WIRE_VERSION_LINKS)
  const mark = target.logged.length
  // Slowly, so that it looks for peers.
  cluster.registry.chunkPauseMs = 50
  const pulling = pullBlob(victim, cluster.request(fresh))
  const shown = () => lines.flatMap(({ openings }) => openings).length
  await expect.poll(shown, { timeout: 5_000 }).toBeGreaterThan(0)
  const line = lines.find(({ openings }) => openings.length > 0)!
  // Its own pull, shown back to it; the certificate names the victim, and the signature the other direction.
  line.sendPull(line.openings[0]!)
  line.ask(target.swarm, 4)
  line.ask(claimed, 6)
  await expectLogged(target, mark, 'PEER_REFUSED')
  cluster.registry.chunkPauseMs = 0
  expect((await pulling).equals(fresh.bytes)).toBe(true)
  expect(lines.reduce((sum, { blockBytes }) => sum + blockBytes, 0)).toBe(0)
  expect(lines.flatMap(({ given }) => given)).toEqual([])
  server.close()
  await victim.stop()
  await hostile.tracker.close()
})

expectUnharmed(target)
