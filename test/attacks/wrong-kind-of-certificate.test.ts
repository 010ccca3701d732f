import { X509Certificate } from 'node:crypto'
import { expect } from 'vitest'
import { linkNameOf } from '../../core/certificate-claims.ts'
import { digestHex } from '../../core/digest.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { type TrackerAccess, unwatchedTracker } from '../client/membership/unwatched-tracker.ts'
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

attackTest('a link certificate downloads nothing', async () => expectRefused(await target.member.link()))

attackTest('a link certificate opens no part of the API but the join', async () => {
  const { joinToken, ...access } = target.cluster.nodeOptions('attacker') as TrackerAccess & {
    joinToken?: string
  }
  const tracker = unwatchedTracker(access)
  try {
    tracker.identify(await target.member.link())
    const refused = expect.objectContaining({ trackerCode: 'CERTIFICATE_KIND' })
    await expect(tracker.renew('1'.repeat(32))).rejects.toEqual(refused)
    await expect(
      tracker.complete(target.swarm, { epoch: 0, matched: 'whole', piecesSha1: null }),
    ).rejects.toEqual(refused)
  } finally {
    await tracker.close()
  }
})

attackTest('a stock client takes no link certificate for that of a torrent’s peer', async () => {
  const { certificatePem } = await target.member.link()
  const certificate = new X509Certificate(certificatePem)
  expect(certificate.subjectAltName).toContain(`DNS:${linkNameOf(target.member.node)}`)
  expect(certificate.checkHost(digestHex(target.blob.digest))).toBeUndefined()
})

expectUnharmed(target)
