import { X509Certificate } from 'node:crypto'
import { expect } from 'vitest'
import type { ProofMessage } from '../../client/wire/extensions.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { ProofBinding } from '../../core/token-proof/index.ts'
import {
  AttackLine,
  attack,
  fingerprint,
  mint,
  proverFor,
  pullClaimsFor,
  stealAuthority,
} from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * Attackers who have proofs of the right token, made by someone who holds it, for something else than this connection.
 * Their own certificates are bound to the token too, so that nothing but the binding stands in the way.
 */
const target = useTarget()

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

async function boundTo(token: string): Promise<KeyedCertificate> {
  const { cluster, member, blob } = target
  return mint(await stealAuthority(cluster, member.cluster), pullClaimsFor(cluster, member, blob, { token }))
}

const dialWith = (certificate: KeyedCertificate) => ({
  node: target.holder,
  authorities: target.member.authorities,
  certificate,
  sni: target.swarm,
})

async function expectRefused(certificate: KeyedCertificate, messageFor: (line: AttackLine) => ProofMessage) {
  const mark = target.logged.length
  const line = await attack(dialWith(certificate), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    line.sendProof(messageFor(line))
    line.ask()
  })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

function proofWith(token: string, changes: (line: AttackLine) => Partial<ProofBinding>) {
  const prover = proverFor(target.cluster, token)
  return (line: AttackLine) => ({
    signingInput: prover.signingInput,
    proof: prover.prove(line.binding(changes(line))),
  })
}

attackTest('a proof for one connection is refused on the next one, with the same certificate', async () => {
  const token = realToken()
  const certificate = await boundTo(token)
  const first = new AttackLine(dialWith(certificate))
  expect(await first.ready).toBe(true)
  const message = proofWith(token, () => ({}))(first)
  first.destroy()
  await expectRefused(certificate, () => message)
})

attackTest('a proof that was accepted is refused from the holder of another certificate', async () => {
  const token = realToken()
  let accepted: ProofMessage | undefined
  const control = await attack(dialWith(await boundTo(token)), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    accepted = proofWith(token, () => ({}))(line)
    line.sendProof(accepted)
    line.ask()
  })
  expect(control.blockBytes).toBeGreaterThan(0)
  control.forget()
  await expectRefused(await boundTo(token), () => accepted!)
})

attackTest('a proof made for the other role is refused', async () => {
  const token = realToken()
  await expectRefused(
    await boundTo(token),
    proofWith(token, () => ({ role: 'acceptor' })),
  )
})

attackTest('a proof bound to another certificate of the prover is refused', async () => {
  const token = realToken()
  const other = new X509Certificate((await boundTo(token)).certificatePem)
  await expectRefused(
    await boundTo(token),
    proofWith(token, () => ({ proverCertificate: fingerprint(other) })),
  )
})

attackTest('a proof that was made for another verifier is refused', async () => {
  const token = realToken()
  const serving = new X509Certificate((await target.member.serve(9)).certificatePem)
  await expectRefused(
    await boundTo(token),
    proofWith(token, () => ({ verifierCertificate: fingerprint(serving) })),
  )
})

attackTest('a proof with both certificates exchanged, as if it were reflected, is refused', async () => {
  const token = realToken()
  const reflected = (line: AttackLine) => {
    const { proverCertificate, verifierCertificate } = line.binding()
    return {
      role: 'acceptor',
      proverCertificate: verifierCertificate,
      verifierCertificate: proverCertificate,
    } as const
  }
  await expectRefused(await boundTo(token), proofWith(token, reflected))
})

attackTest('a proof with another exporter is refused', async () => {
  const token = realToken()
  await expectRefused(
    await boundTo(token),
    proofWith(token, () => ({ exporter: Buffer.alloc(32) })),
  )
})

attackTest('a proof with any byte changed is refused', async () => {
  const token = realToken()
  const certificate = await boundTo(token)
  const make = proofWith(token, () => ({}))
  for (const at of [0, 1, 20, 40, 70, 100, -1]) {
    await expectRefused(certificate, (line) => {
      const message = make(line)
      const index = at < 0 ? message.proof.length + at : Math.min(at, message.proof.length - 1)
      message.proof[index]! ^= 1
      return message
    })
  }
})

expectUnharmed(target)
