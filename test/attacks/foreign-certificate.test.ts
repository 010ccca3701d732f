import { expect } from 'vitest'
import { claimsToNames } from '../../core/certificate-claims.ts'
import { issueLeaf, type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import { type AttackLine, attack, enrol, proverFor, pullClaimsFor } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** Attackers whose certificates say everything right, but were issued by somebody else. They hold a real token. */
const target = useTarget()

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

async function forged(authority: KeyedCertificate, token: string): Promise<KeyedCertificate> {
  const names = claimsToNames(pullClaimsFor(target.cluster, target.member, target.blob, { token }))
  return issueLeaf(authority, {
    commonName: `shoal pull ${target.member.node}`,
    validForSeconds: 600,
    names: [
      ...names.uris.map((value) => ({ type: 'url', value }) as const),
      ...names.dnsNames.map((value) => ({ type: 'dns', value }) as const),
    ],
    usages: ['clientAuth', 'serverAuth'],
  })
}

const speakWith = (token: string) => (line: AttackLine) => {
  line.sendHandshakes(target.swarm, target.member.node)
  const prover = proverFor(target.cluster, token)
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
  line.ask()
}

async function expectRefused(certificate: KeyedCertificate, token: string): Promise<void> {
  const mark = target.logged.length
  const dial = { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
  const line = await attack(dial, speakWith(token))
  expectNothingGiven(line)
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

attackTest('a certificate of an authority of its own is refused', async () => {
  const token = realToken()
  const own = await makeAuthority({ commonName: 'attacker', validForSeconds: 600 })
  await expectRefused(await forged(own, token), token)
})

attackTest("a certificate of an authority with the cluster authority's name is refused", async () => {
  const token = realToken()
  const own = await makeAuthority({
    commonName: `shoal cluster ${target.member.cluster}`,
    validForSeconds: 600,
  })
  const leaf = await forged(own, token)
  await expectRefused(leaf, token)
  const chain = { ...leaf, certificatePem: leaf.certificatePem + own.certificatePem }
  await expectRefused(chain, token)
})

attackTest('a certificate that was issued with a leaf certificate of the cluster is refused', async () => {
  const token = realToken()
  const leaf = await forged(target.member.nodeCertificate, token)
  await expectRefused(
    { ...leaf, certificatePem: leaf.certificatePem + target.member.nodeCertificate.certificatePem },
    token,
  )
})

attackTest('a self-signed certificate is refused', async () => {
  const token = realToken()
  await expectRefused(await makeAuthority({ commonName: 'shoal pull', validForSeconds: 600 }), token)
})

attackTest('a pull certificate of another cluster of the same tracker is refused', async () => {
  const token = realToken()
  const { joinToken } = await target.cluster.newCluster()
  const foreigner = await enrol(target.cluster, joinToken)
  const { certificate } = await foreigner.pull(target.cluster, target.blob, token)
  await expectRefused(certificate, token)
  await foreigner.tracker.close()
})

expectUnharmed(target)
