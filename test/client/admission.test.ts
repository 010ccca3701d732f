import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PeerRefusedError } from '../../client/errors.ts'
import { Admission } from '../../client/net/admission.ts'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { parseSigningInput } from '../../core/registry-token.ts'
import { TokenKeys } from '../../core/token-keys.ts'
import { type ProofBinding, prepareProver } from '../../core/token-proof/index.ts'
import { makeSigner, pullClaims, signingInputOf } from '../core/signed-tokens.ts'
import { BLOB, honestDoor, REPOSITORY, startTestRegistry, type TestRegistry } from '../core/test-registry.ts'

/** The business check alone: who is admitted, and that nothing that a peer sends gets more than a refusal. */

let registry: TestRegistry
beforeAll(async () => {
  registry = await startTestRegistry(honestDoor(makeSigner('ES256')))
})
afterAll(() => registry.close())

function bindingOf(role: ProofBinding['role'] = 'dialler'): ProofBinding {
  return {
    role,
    exporter: randomBytes(32),
    proverCertificate: randomBytes(32),
    verifierCertificate: randomBytes(32),
  }
}

function setUp(algorithm: string) {
  const signer = makeSigner(algorithm)
  const tokenKeys = new TokenKeys({ registries: registry.clients })
  tokenKeys.adopt([
    { registry: registry.host, issuer: 'token server', audience: 'registry', jwk: { ...signer.publicJwk } },
  ])
  const admission = new Admission({ registries: registry.clients, tokenKeys })
  const token = signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk })
  const claims: PullClaims = {
    kind: 'pull',
    cluster: 'c0123456789abcdef' as ClusterId,
    node: 'ab'.repeat(20) as NodeId,
    pullId: 'p',
    registry: registry.host,
    repository: REPOSITORY,
    grantedAtSeconds: Math.floor(Date.now() / 1000),
    tokenHash: parseSigningInput(signingInputOf(token)).hash,
    blobs: [BLOB],
  }
  return { admission, claims, token, prover: prepareProver(token, signer.publicJwk) }
}

for (const [algorithm, runs] of [
  ['ES256', 150],
  ['ES384', 60],
  ['EdDSA', 150],
  ['RS256', 150],
] as const) {
  test(`a proof bent in any way is refused and nothing worse (${algorithm})`, () => {
    const { admission, claims, prover } = setUp(algorithm)
    const binding = bindingOf()
    const good = prover.prove(binding)
    for (let run = 0; run < runs; run++) {
      let proof = Buffer.from(good)
      const at = Math.floor(Math.random() * proof.length)
      if (run % 4 === 0) proof = proof.subarray(0, at)
      else if (run % 4 === 1) proof = Buffer.concat([proof, randomBytes(1 + (at % 40))])
      else if (run % 4 === 2)
        proof.fill(run % 8 === 2 ? 0 : 0xff, at, Math.min(proof.length, at + 1 + (run % 64)))
      else proof[at]! ^= 1 << (run % 8)
      if (proof.equals(good)) continue
      const message = { signingInput: prover.signingInput, proof }
      expect(() => admission.checkProof(claims, message, binding, `key ${run}`)).toThrow(PeerRefusedError)
    }
    expect(() =>
      admission.checkProof(claims, { signingInput: prover.signingInput, proof: good }, binding, 'key'),
    ).not.toThrow()
  }, 20_000)
}

test('a signing input that is anything at all is refused and nothing worse', () => {
  const { admission, claims, prover } = setUp('ES256')
  const proof = prover.prove(bindingOf())
  const { signingInput } = prover
  for (let run = 0; run < 2000; run++) {
    const at = Math.floor(Math.random() * signingInput.length)
    const bent =
      signingInput.slice(0, at) + String.fromCharCode(run % 256) + signingInput.slice(at + 1 + (run % 3))
    if (bent === signingInput) continue
    expect(() => admission.checkProof(claims, { signingInput: bent, proof }, bindingOf(), 'key')).toThrow(
      PeerRefusedError,
    )
  }
})

test('a verified proof is remembered for its certificate key and token, and for no other', () => {
  const { admission, claims, prover } = setUp('ES256')
  const binding = bindingOf()
  const message = { signingInput: prover.signingInput, proof: prover.prove(binding) }
  admission.checkProof(claims, message, binding, 'key')
  const stale = { ...message, proof: Buffer.alloc(0) }
  expect(() => admission.checkProof(claims, stale, bindingOf(), 'key')).not.toThrow()
  expect(() => admission.checkProof(claims, stale, bindingOf(), 'another key')).toThrow(PeerRefusedError)
  // What was proven does not stand in for what is checked anew: the grant, the repository, the binding to the token.
  for (const changes of [
    { repository: 'team/other' as typeof REPOSITORY },
    { grantedAtSeconds: 1 },
    { tokenHash: 'f'.repeat(64) },
    { registry: 'elsewhere.example' as PullClaims['registry'] },
  ]) {
    expect(() => admission.checkProof({ ...claims, ...changes }, stale, bindingOf(), 'key')).toThrow(
      PeerRefusedError,
    )
  }
})

test('only a pull certificate for this blob of this registry downloads it', () => {
  const { admission, claims } = setUp('ES256')
  const blob = { registry: registry.host, digest: BLOB }
  expect(admission.checkCertificate(claims, blob)).toBe(claims)
  const wrong: CertificateClaims[] = [
    { kind: 'node', cluster: claims.cluster, node: claims.node },
    { kind: 'serve', cluster: claims.cluster, node: claims.node },
    { ...claims, blobs: [] },
    { ...claims, registry: 'elsewhere.example' as PullClaims['registry'] },
  ]
  for (const other of wrong) expect(() => admission.checkCertificate(other, blob)).toThrow(PeerRefusedError)
})

test('a registry that is not configured, or needs tokens, always needs a proof', () => {
  const { admission } = setUp('ES256')
  expect(admission.needsProof({ registry: registry.host, digest: BLOB })).toBe(true)
  expect(admission.needsProof({ registry: 'unknown.example' as PullClaims['registry'], digest: BLOB })).toBe(
    true,
  )
})
