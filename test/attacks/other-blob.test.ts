import { expect } from 'vitest'
import type { SwarmId } from '../../core/metainfo.ts'
import { pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import {
  type AttackLine,
  attack,
  mint,
  proverFor,
  pullClaimsFor,
  stealAuthority,
  swarmOf,
} from './attacker.ts'
import { attackTest } from './ledger.ts'
import { BLOB_BYTES, expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** A member with a right certificate and a right proof, for blob A, who is after blob B of the same holder. */
const target = useTarget()

const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}

async function otherBlob(): Promise<{ other: TestBlob; otherSwarm: SwarmId }> {
  const { cluster, holder, member } = target
  const other = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await pull(holder, cluster.request(other))
  return { other, otherSwarm: swarmOf(member, cluster, other) }
}

/** With the certificate of A: SNI and handshake as given. */
async function attempt(options: {
  sni: SwarmId
  handshake: SwarmId
}): Promise<{ line: AttackLine; mark: number }> {
  const { cluster, holder, member, blob } = target
  const token = realToken()
  const { certificate } = await member.pull(cluster, blob, token)
  const mark = target.logged.length
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: options.sni },
    (line) => {
      line.sendHandshakes(options.handshake, member.node)
      const prover = proverFor(cluster, token)
      line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
      line.ask()
    },
  )
  return { line, mark }
}

attackTest("B's swarm as SNI is refused before the protocol begins", async () => {
  const { otherSwarm } = await otherBlob()
  const { line, mark } = await attempt({ sni: otherSwarm, handshake: otherSwarm })
  expectNothingGiven(line)
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest("B's swarm as SNI with A's handshake is refused", async () => {
  const { otherSwarm } = await otherBlob()
  const { line, mark } = await attempt({ sni: otherSwarm, handshake: target.swarm })
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest("A's SNI with B's handshake is refused", async () => {
  const { otherSwarm } = await otherBlob()
  const { line, mark } = await attempt({ sni: target.swarm, handshake: otherSwarm })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_PROTOCOL')
})

attackTest('pieces beyond the end of A, where B might lie, are refused', async () => {
  const { cluster, holder, member, blob, swarm } = target
  for (const block of [
    { piece: 4, begin: 0, length: 16384 },
    { piece: 0xffffffff, begin: 0, length: 16384 },
    { piece: 0, begin: 262144, length: 16384 },
    { piece: 0, begin: 0xffffffff, length: 16384 },
    { piece: 0, begin: 262143, length: 2 },
    { piece: 3, begin: 0, length: 18 },
    { piece: 0, begin: 0, length: 0 },
    { piece: 0, begin: 0, length: 0xffffffff },
  ]) {
    const token = realToken()
    const { certificate } = await member.pull(cluster, blob, token)
    const mark = target.logged.length
    const line = await attack(
      { node: holder, authorities: member.authorities, certificate, sni: swarm },
      (line) => {
        line.sendHandshakes(swarm, member.node)
        const prover = proverFor(cluster, token)
        line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
        line.send({ type: 'request', ...block })
      },
    )
    expect(line.blockBytes).toBe(0)
    await expectLogged(target, mark, 'PEER_PROTOCOL')
  }
})

attackTest('a certificate that names no blob opens nothing', async () => {
  const { cluster, holder, member, blob, swarm } = target
  const claims = pullClaimsFor(cluster, member, blob, { token: realToken(), blobs: [] })
  const certificate = mint(await stealAuthority(cluster, member.cluster), claims)
  const mark = target.logged.length
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: swarm },
    (line) => line.ask(),
  )
  expect(line.receivedBytes).toBe(0)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

attackTest(
  'the tracker grants no blob that is not in the repository, so such a certificate cannot be had',
  async () => {
    const { cluster, member } = target
    const elsewhere = randomBlob(1000)
    await expect(member.pull(cluster, elsewhere)).rejects.toMatchObject({
      trackerCode: 'BLOB_NOT_IN_REPOSITORY',
    })
  },
)

expectUnharmed(target)
