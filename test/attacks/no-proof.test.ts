import { expect } from 'vitest'
import { attack, type DialOptions, proverFor } from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** An attacker with a real pull certificate, stolen with its key, who does not hold the registry token. */
const target = useTarget()

async function withPullCertificate(): Promise<DialOptions> {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  return { node: target.holder, authorities: target.member.authorities, certificate, sni: target.swarm }
}

attackTest('who asks for blocks at once is refused', async () => {
  const mark = target.logged.length
  const line = await attack(await withPullCertificate(), (line) => line.ask())
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_PROTOCOL')
})

attackTest('who asks after the handshakes is refused', async () => {
  const mark = target.logged.length
  const line = await attack(await withPullCertificate(), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    line.send({ type: 'interested' })
    line.ask()
  })
  expectNothingGiven(line)
  expect(line.handshakes).toHaveLength(1)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest('who only waits is told nothing of what there is', async () => {
  const line = await attack(await withPullCertificate(), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    line.send({ type: 'interested' }, { type: 'have-none' }, { type: 'unchoke' })
  })
  expectNothingGiven(line)
})

attackTest('an empty proof is refused', async () => {
  const mark = target.logged.length
  const line = await attack(await withPullCertificate(), (line) => {
    line.sendHandshakes(target.swarm, target.member.node)
    line.sendProof({ signingInput: '', proof: Buffer.alloc(0) })
    line.ask()
  })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

controlTest(
  'the same line with a proof would have been served: the attacks fail for the right reason',
  async () => {
    const { credential } = target.cluster.request(target.blob)
    const token = credential.scheme === 'bearer' ? credential.token : ''
    const { certificate } = await target.member.pull(target.cluster, target.blob, token)
    const dial = {
      node: target.holder,
      authorities: target.member.authorities,
      certificate,
      sni: target.swarm,
    }
    const line = await attack(dial, (line) => {
      line.sendHandshakes(target.swarm, target.member.node)
      const prover = proverFor(target.cluster, token)
      line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
      line.ask()
    })
    expect(line.blockBytes).toBe(4 * 16384)
  },
)

expectUnharmed(target)
