import { expect } from 'vitest'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { attack, proverFor } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** A member of the cluster, with a real token in hand, who uses its other certificates to download. */
const target = useTarget()

async function expectRefused(certificate: KeyedCertificate): Promise<void> {
  const mark = target.logged.length
  const { credential } = target.cluster.request(target.blob)
  const token = credential.scheme === 'bearer' ? credential.token : ''
  const dial = { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
  const line = await attack(dial, (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    const prover = proverFor(target.cluster, token)
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
    line.ask()
  })
  expectNothingGiven(line)
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

attackTest('a node certificate downloads nothing', () => expectRefused(target.member.nodeCertificate))

attackTest('a serve certificate downloads nothing', async () => expectRefused(await target.member.serve(9)))

expectUnharmed(target)
