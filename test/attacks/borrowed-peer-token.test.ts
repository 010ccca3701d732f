import { createPrivateKey, createPublicKey } from 'node:crypto'
import { expect } from 'vitest'
import type { PullClaims } from '../../core/certificate-claims.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { mintPeerToken, PEER_TOKEN_SECONDS } from '../../core/peer-token.ts'
import type { Repository } from '../../core/repository.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import type { Cluster } from '../../tracker/authority/cluster.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import {
  type AttackLine,
  attack,
  enrol,
  mint,
  pullClaimsFor,
  spkiOf,
  stealAuthority,
  tokenHashOf,
} from './attacker.ts'
import { attackTest, controlTest } from './ledger.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * A registry whose tokens nobody can prove: the tracker mints peer tokens, each bound to the key of one pull. The
 * attacker has those of other pulls, and makes its own.
 */
const target = useTarget({ opaqueToken: 'opaque_9f8e7d6c5b4a' })

type Key = Cluster['signingKey']['peerTokenKey']

async function authority(): Promise<Cluster> {
  return stealAuthority(target.cluster, target.member.cluster)
}

/** A certificate of the real authority that is bound to the token, with a key of the attacker's. */
async function boundTo(token: string, changes: Partial<PullClaims> = {}): Promise<KeyedCertificate> {
  const { cluster, member, blob } = target
  return mint(
    await authority(),
    pullClaimsFor(cluster, member, blob, { tokenHash: tokenHashOf(token), ...changes }),
  )
}

function dial(certificate: KeyedCertificate, prove: (line: AttackLine) => void): Promise<AttackLine> {
  const { member, holder, swarm } = target
  return attack({ node: holder, authorities: member.authorities, certificate, sni: swarm }, (line) => {
    line.sendHandshakes(swarm, member.node)
    prove(line)
    line.ask()
  })
}

const proofOf = (token: string, key: Key) => (line: AttackLine) => {
  const prover = prepareProver(token, createPublicKey(key).export({ format: 'jwk' }))
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
}

async function expectRefused(certificate: KeyedCertificate, token: string, key: Key): Promise<void> {
  const mark = target.logged.length
  const line = await dial(certificate, proofOf(token, key))
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

/** As the tracker mints it, but for what `changes` say; bound to the key of `certificate`. */
async function minted(
  certificate: KeyedCertificate,
  key: Key,
  changes: { repository?: Repository; nowMs?: number } = {},
): Promise<string> {
  const { cluster, member, blob } = target
  const { registry } = cluster.request(blob)
  return mintPeerToken(key, {
    cluster: member.cluster,
    registry,
    repository: REPOSITORY,
    spki: spkiOf(certificate),
    nowMs: Date.now(),
    ...changes,
  })
}

/** A certificate for a token that is bound to that certificate's key: the key is first, the token second. */
async function boundBothWays(
  key: Key,
  changes: { repository?: Repository; nowMs?: number } = {},
): Promise<{ certificate: KeyedCertificate; token: string }> {
  const { cluster, member, blob } = target
  const issuer = (await authority()).authorities[0]!
  const own = await boundTo('a.b.c')
  const token = await minted(own, key, changes)
  const { certificate } = issuer.issue({
    claims: pullClaimsFor(cluster, member, blob, { tokenHash: tokenHashOf(token) }),
    spki: spkiOf(own),
    nowMs: Date.now(),
    validForSeconds: 600,
  })
  return { certificate: { certificatePem: certificate, privateKeyPem: own.privateKeyPem }, token }
}

controlTest('the peer token of the own pull is served: the attacks fail for the right reason', async () => {
  const { answer, certificate } = await target.member.pull(target.cluster, target.blob, 'opaque_9f8e7d6c5b4a')
  const { peerTokenKey: key } = (await authority()).signingKey
  const line = await dial(certificate, proofOf(answer.peerToken!, key))
  expect(line.blockBytes).toBe(4 * 16384)
})

controlTest('so is one that is made as the tracker makes them', async () => {
  const { peerTokenKey: key } = (await authority()).signingKey
  const { certificate, token } = await boundBothWays(key)
  expect((await dial(certificate, proofOf(token, key))).blockBytes).toBe(4 * 16384)
})

attackTest('the peer token of another pull is refused, with a certificate that is bound to it', async () => {
  const { answer } = await target.member.pull(target.cluster, target.blob)
  const { peerTokenKey: key } = (await authority()).signingKey
  await expectRefused(await boundTo(answer.peerToken!), answer.peerToken!, key)
})

attackTest("the peer token of the attacker's own other pull is refused", async () => {
  const first = await target.member.pull(target.cluster, target.blob)
  const second = await target.member.pull(target.cluster, target.blob)
  const { peerTokenKey: key } = (await authority()).signingKey
  await expectRefused(second.certificate, first.answer.peerToken!, key)
})

attackTest("a peer token that another cluster's tracker minted is refused", async () => {
  const { joinToken } = await target.cluster.newCluster()
  const foreigner = await enrol(target.cluster, joinToken)
  const foreign = await stealAuthority(target.cluster, foreigner.cluster)
  const key = foreign.signingKey.peerTokenKey
  const { certificate, token } = await boundBothWays(key)
  await expectRefused(certificate, token, key)
  await foreigner.tracker.close()
})

attackTest(
  "a peer token in the tracker's name, signed with a key of the attacker's, is refused",
  async () => {
    const own = makeSigner('EdDSA')
    const key = createPrivateKey({ key: own.privateJwk, format: 'jwk' }) as Key
    const { certificate, token } = await boundBothWays(key)
    await expectRefused(certificate, token, key)
  },
)

attackTest('a peer token for another repository is refused', async () => {
  const { peerTokenKey: key } = (await authority()).signingKey
  const { certificate, token } = await boundBothWays(key, { repository: 'team/other' as Repository })
  await expectRefused(certificate, token, key)
})

attackTest('a peer token that had ended before the grant is refused', async () => {
  const { peerTokenKey: key } = (await authority()).signingKey
  const nowMs = Date.now() - (PEER_TOKEN_SECONDS + 120) * 1000
  const { certificate, token } = await boundBothWays(key, { nowMs })
  await expectRefused(certificate, token, key)
})

attackTest('a registry token of the usual form is no peer token: it is bound to no key', async () => {
  const { signer } = target.cluster
  const token = signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk })
  const key = createPrivateKey({ key: signer.privateJwk, format: 'jwk' }) as Key
  await expectRefused(await boundTo(token), token, key)
})

attackTest("the registry's own opaque token, shown to a peer, is no proof", async () => {
  const token = 'opaque_9f8e7d6c5b4a'
  const { certificate } = await target.member.pull(target.cluster, target.blob, token)
  const mark = target.logged.length
  const line = await dial(certificate, (line) => {
    line.sendProof({ signingInput: token, proof: Buffer.from(token) })
  })
  expectNothingGiven(line)
  await expectLogged(target, mark, 'PEER_REFUSED')
})

expectUnharmed(target)
