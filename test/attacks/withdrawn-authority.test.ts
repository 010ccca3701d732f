import { expect } from 'vitest'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { Cluster } from '../../tracker/authority/cluster.ts'
import { AttackLine, attack, enrol, mint, proverFor, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/** Somebody has the key of the cluster's authority; the operator changes the authority, and withdraws the old one. */
const target = useTarget()

/** Three missed heartbeats of a second, and one for the nodes to renew. */
const SETTLED_MS = 4500
const realToken = () => {
  const { credential } = target.cluster.request(target.blob)
  return credential.scheme === 'bearer' ? credential.token : ''
}
const sleep = (forMs: number) => new Promise((resolve) => setTimeout(resolve, forMs))

let stolen: Cluster
const forge = (token: string) =>
  mint(stolen, pullClaimsFor(target.cluster, target.member, target.blob, { token }))
const dial = (certificate: KeyedCertificate, authorities: readonly string[]) => ({
  node: target.holder,
  authorities,
  certificate,
  sni: target.swarm,
})
const prove = (line: AttackLine, token: string) => {
  line.sendHandshakes(target.swarm, target.member.node)
  const prover = proverFor(target.cluster, token)
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
}

attackTest(
  'a connection on a certificate of the old authority ends with the authority, before it was given anything',
  async () => {
    const { cluster, member } = target
    stolen = await stealAuthority(cluster, member.cluster)
    const token = realToken()
    const path = `/admin/v1/clusters/${member.cluster}/authorities`
    expect((await cluster.admin(path, {})).status).toBe(201)
    await sleep(SETTLED_MS)
    // While both are trusted it would be served: that is what makes the change no outage.
    const { authorities } = (await stealAuthority(cluster, member.cluster)).trust
    const line = new AttackLine(dial(forge(token), authorities))
    expect(await line.ready).toBe(true)
    prove(line, token)
    await expect
      .poll(() => line.messages.some(({ type }) => type !== 'extended'), { timeout: 5000 })
      .toBe(true)
    // The attacker's own node certificate is of the old authority too, and would hold the withdrawal up for a day.
    expect((await cluster.admin(`${path}/withdrawal`, { isForced: true })).status).toBe(200)
    await Promise.race([line.closed, sleep(5000)])
    expect(line.socket.destroyed).toBe(true)
    expect(line.blockBytes).toBe(0)
  },
)

attackTest(
  'a certificate of the withdrawn authority opens no node, whatever authority it names',
  async () => {
    const now = await stealAuthority(target.cluster, target.member.cluster)
    expect(now.authorities).toHaveLength(1)
    const authorities = now.trust.authorities
    const token = realToken()
    const mark = target.logged.length
    const line = await attack(dial(forge(token), authorities), (line) => {
      prove(line, token)
      line.ask()
    })
    expectNothingGiven(line)
    await expectLogged(target, mark, 'PEER_REFUSED')
  },
)

attackTest(
  'a certificate of the withdrawn authority opens no call at the tracker, also on an open connection',
  async () => {
    const { cluster, member, blob } = target
    await expect(member.pull(cluster, blob)).rejects.toMatchObject({ trackerCode: 'CERTIFICATE_REFUSED' })
    const forged = mint(stolen, { kind: 'node', cluster: member.cluster, node: member.node })
    member.tracker.identify(forged)
    await expect(member.pull(cluster, blob)).rejects.toMatchObject({ trackerCode: 'CERTIFICATE_REFUSED' })
    const again = await enrol(cluster)
    expect((await again.pull(cluster, blob)).answer.swarms).toHaveLength(1)
    await again.tracker.close()
  },
)

expectUnharmed(target)
