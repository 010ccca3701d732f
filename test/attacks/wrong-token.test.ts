import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import type { PullClaims } from '../../core/certificate-claims.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import type { Repository } from '../../core/repository.ts'
import { prepareProver } from '../../core/token-proof/index.ts'
import { encoded, makeSigner, pullClaims, type Signer, signingInputOf } from '../core/signed-tokens.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { type AttackLine, attack, mint, pullClaimsFor, stealAuthority } from './attacker.ts'
import { expectLogged, expectNothingGiven, expectUnharmed, useTarget } from './target.ts'

/**
 * Attackers with a pull certificate of the real authority that is bound to exactly the token that they hold: what is
 * wrong is the token. No honest tracker issues these; the tests take the authority's key from the tracker's store.
 */
const target = useTarget()
const nowSeconds = () => Math.floor(Date.now() / 1000)
const OTHER = 'team/other' as Repository

/** Tries to be served with this token, its proof made with the key that signed it. */
async function expectRefused(token: string, signer: Signer, claims: Partial<PullClaims> = {}): Promise<void> {
  await expectLineRefused(claims, token, (line) => {
    const prover = prepareProver(token, signer.publicJwk)
    line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
  })
}

async function expectLineRefused(
  claims: Partial<PullClaims>,
  token: string,
  prove: (line: AttackLine) => void,
): Promise<void> {
  const { cluster, member, blob, holder, swarm } = target
  const authority = await stealAuthority(cluster, member.cluster)
  const certificate = mint(authority, pullClaimsFor(cluster, member, blob, { token, ...claims }))
  const mark = target.logged.length
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: swarm },
    (line) => {
      line.sendHandshakes(swarm, member.node)
      prove(line)
      line.ask()
    },
  )
  expectNothingGiven(line)
  expect(line.handshakes).toHaveLength(1)
  await expectLogged(target, mark, 'PEER_REFUSED')
}

const signed = (changes: Record<string, unknown> = {}, repository: string = REPOSITORY) =>
  target.cluster.signer.sign(pullClaims(repository, changes), { jwk: target.cluster.signer.publicJwk })

test('a minted certificate with the right token is served: the attacks fail for the right reason', async () => {
  const { cluster, member, blob, holder, swarm } = target
  const token = signed()
  const certificate = mint(
    await stealAuthority(cluster, member.cluster),
    pullClaimsFor(cluster, member, blob, { token }),
  )
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: swarm },
    (line) => {
      line.sendHandshakes(swarm, member.node)
      const prover = prepareProver(token, cluster.signer.publicJwk)
      line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
      line.ask()
    },
  )
  expect(line.blockBytes).toBe(4 * 16384)
  line.forget()
})

test('a token for another repository is refused', async () => {
  const { signer } = target.cluster
  await expectRefused(signed({}, OTHER), signer)
})

test('a token that grants push only is refused', async () => {
  const access = [{ type: 'repository', name: REPOSITORY, actions: ['push', 'delete'] }]
  await expectRefused(signed({ access }), target.cluster.signer)
})

test('a token that grants pull of something that is no repository is refused', async () => {
  const access = [{ type: 'registry', name: REPOSITORY, actions: ['pull', '*'] }]
  await expectRefused(signed({ access }), target.cluster.signer)
  await expectRefused(signed({ access: [] }), target.cluster.signer)
})

test('a token that had ended before the grant is refused', async () => {
  const token = signed({ nbf: nowSeconds() - 600, exp: nowSeconds() - 120 })
  await expectRefused(token, target.cluster.signer)
})

test('a token that begins after the grant is refused', async () => {
  const token = signed({ nbf: nowSeconds() + 300, exp: nowSeconds() + 900 })
  await expectRefused(token, target.cluster.signer)
})

test('a token without an end is refused', async () => {
  await expectRefused(signed({ exp: undefined }), target.cluster.signer)
})

test('tokens of another issuer or for another audience are refused', async () => {
  await expectRefused(signed({ iss: 'someone else' }), target.cluster.signer)
  await expectRefused(signed({ aud: 'another service' }), target.cluster.signer)
})

test('a token signed with a key of its own that it embeds as jwk is refused', async () => {
  const own = makeSigner('ES256')
  await expectRefused(own.sign(pullClaims(REPOSITORY), { jwk: own.publicJwk }), own)
})

test('a token signed with a key of its own that it embeds as x5c is refused', async () => {
  const own = makeSigner('ES256')
  const authority = await makeAuthority({ commonName: 'token server', validForSeconds: 600 })
  const spki = own.publicKey.export({ type: 'spki', format: 'der' })
  const leaf = await issueLeaf(authority, {
    commonName: 'token server',
    validForSeconds: 600,
    names: [],
    usages: ['serverAuth'],
    spki,
  })
  const x5c = [leaf.certificatePem.replace(/-----[^-]+-----|\s/g, '')]
  await expectRefused(own.sign(pullClaims(REPOSITORY), { x5c }), own)
})

test("a token signed with a key of its own under the trusted key's reference is refused", async () => {
  const own = makeSigner('ES256')
  await expectRefused(own.sign(pullClaims(REPOSITORY), { kid: 'trusted' }), own)
  await expectRefused(own.sign(pullClaims(REPOSITORY)), own)
  const { signer } = target.cluster
  // The trusted key embedded, the proof made with another: the statement is about the trusted one.
  const token = own.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk })
  await expectRefused(token, own)
})

test('tokens with alg none, or an HMAC keyed with the public key, are refused', async () => {
  const { signer } = target.cluster
  const payload = encoded(pullClaims(REPOSITORY))
  const none = `${encoded({ alg: 'none' })}.${payload}.`
  const input = `${encoded({ alg: 'HS256', jwk: signer.publicJwk })}.${payload}`
  const publicPem = signer.publicKey.export({ type: 'spki', format: 'pem' })
  const hmac = `${input}.${createHmac('sha256', publicPem).update(input).digest('base64url')}`
  for (const token of [none, hmac]) {
    await expectLineRefused({}, token, (line) => {
      const signature = Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url')
      line.sendProof({ signingInput: signingInputOf(token), proof: Buffer.concat([Buffer.of(1), signature]) })
    })
  }
})

test('a token cut short is refused', async () => {
  const whole = signed()
  const token = `${signingInputOf(whole).slice(0, -20)}.x`
  await expectLineRefused({}, token, (line) => {
    const prover = prepareProver(whole, target.cluster.signer.publicJwk)
    line.sendProof({ signingInput: signingInputOf(token), proof: prover.prove(line.binding()) })
  })
})

test('the signature itself is no proof', async () => {
  const token = signed()
  await expectLineRefused({}, token, (line) => {
    const signature = Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url')
    line.sendProof({ signingInput: signingInputOf(token), proof: Buffer.concat([Buffer.of(1), signature]) })
  })
})

test('a right token with a certificate that is bound to another, or to none, is refused', async () => {
  const { signer } = target.cluster
  await expectRefused(signed(), signer, { tokenHash: 'a'.repeat(64) })
  const hashless = { tokenHash: undefined } as unknown as Partial<PullClaims>
  await expectRefused(signed(), signer, hashless)
})

test('a right token with a certificate for another registry is refused before the protocol begins', async () => {
  const { cluster, member, blob, holder, swarm } = target
  const token = signed()
  const claims = pullClaimsFor(cluster, member, blob, {
    token,
    registry: 'registry.example:5000' as PullClaims['registry'],
  })
  const certificate = mint(await stealAuthority(cluster, member.cluster), claims)
  const line = await attack(
    { node: holder, authorities: member.authorities, certificate, sni: swarm },
    (line) => line.ask(),
  )
  expect(line.receivedBytes).toBe(0)
})

expectUnharmed(target)
