import { expect } from 'vitest'
import { AttackLine, attack, mint, proverFor, pullClaimsFor, revoke, stealAuthority } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** Whoever holds material that was good once: a certificate whose time is over, or one that was revoked. */
const target = useTarget()

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}
const prove = (line: AttackLine, token: string) => {
  line.sendHandshakes(target.swarm, target.member.node)
  const prover = proverFor(target.cluster, token)
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
}
const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))

attackTest('an expired certificate of the real authority, with the right token, opens nothing', async () => {
  const token = realToken()
  const authority = await stealAuthority(target.cluster, target.member.cluster)
  const claims = pullClaimsFor(target.cluster, target.member, target.blob, { token })
  const certificate = mint(authority, claims, 1)
  await sleep(2100)
  const mark = target.logged.length
  const dial = { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
  const line = await attack(dial, (line) => {
    prove(line, token)
    line.ask()
  })
  expectNothingGiven(line)
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest('a connection that outlives its certificate ends with it', async () => {
  const token = realToken()
  const authority = await stealAuthority(target.cluster, target.member.cluster)
  const claims = pullClaimsFor(target.cluster, target.member, target.blob, { token })
  const certificate = mint(authority, claims, 3)
  const dial = { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
  const line = new AttackLine(dial)
  expect(await line.ready).toBe(true)
  prove(line, token)
  await expect.poll(() => line.messages.some(({ type }) => type !== 'extended'), { timeout: 2000 }).toBe(true)
  const mark = target.logged.length
  await Promise.race([line.closed, sleep(10_000)])
  expect(line.socket.destroyed).toBe(true)
  line.ask()
  expect(line.blockBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest('a node that is revoked while connected is cut off, and refused when it comes again', async () => {
  const token = realToken()
  const { certificate } = await target.member.pull(target.cluster, target.blob, token)
  const dial = { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
  const line = new AttackLine(dial)
  expect(await line.ready).toBe(true)
  prove(line, token)
  // The proof was accepted: without the revocation it would be served.
  await expect.poll(() => line.messages.some(({ type }) => type !== 'extended'), { timeout: 5000 }).toBe(true)
  const startedAtMs = Date.now()
  const revokedMark = target.logged.length
  await revoke(target.cluster, target.member)
  await Promise.race([line.closed, sleep(10_000)])
  expect(line.socket.destroyed).toBe(true)
  // A heartbeat of one second, spread by a tenth.
  expect(Date.now() - startedAtMs).toBeLessThan(5000)
  expect(line.blockBytes).toBe(0)
  await expectLogged(target, revokedMark, 'PEER_REFUSED')

  const mark = target.logged.length
  const again = await attack(dial, (line) => {
    prove(line, token)
    line.ask()
  })
  expectNothingGiven(again)
  await expectLogged(target, mark, 'PEER_REFUSED')
  await expect(target.member.pull(target.cluster, target.blob, token)).rejects.toMatchObject({
    code: 'TRACKER_REFUSED',
    trackerCode: 'NODE_REVOKED',
  })
})

expectUnharmed(target)
