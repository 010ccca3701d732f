import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PeerRefusedError } from '../../../client/errors.ts'
import { Admission } from '../../../client/membership/admission.ts'
import type { CertificateClaims, PullClaims } from '../../../core/certificate-claims.ts'
import { CredentialsSeen } from '../../../core/credentials-seen.ts'
import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import { keyThumbprint, mintPeerToken, peerTokenKey, peerTokenTrust } from '../../../core/peer-token.ts'
import { openRegistries } from '../../../core/registry-client.ts'
import { parseSigningInput } from '../../../core/registry-token.ts'
import { TokenKeys } from '../../../core/token-keys.ts'
import { type ProofBinding, prepareProver } from '../../../core/token-proof/index.ts'
import { makeSigner, pullClaims, signingInputOf } from '../../core/signed-tokens.ts'
import {
  BLOB,
  honestDoor,
  REPOSITORY,
  startTestRegistry,
  type TestRegistry,
} from '../../core/test-registry.ts'

/** The business check alone: who is admitted, and that nothing that a peer sends gets more than a refusal. */

let registry: TestRegistry
beforeAll(async () => {
  registry = await startTestRegistry(honestDoor(makeSigner('ES256')))
})
const folder = mkdtempSync(join(tmpdir(), 'shoal-admission-'))
afterAll(async () => {
  await registry.close()
  rmSync(folder, { recursive: true })
})

const CLUSTER = 'c0123456789abcdef' as ClusterId
const log = pino({ level: 'silent' })

function admissionWith(tokenKeys: TokenKeys, registries = registry.clients) {
  const credentialsSeen = new CredentialsSeen({
    registries,
    dataDir: folder,
    log,
    onNotOpen: () => undefined,
  })
  return new Admission({
    tokenKeys,
    credentialsSeen,
    cluster: () => CLUSTER,
    freshTrust: async () => {},
  })
}

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
  const admission = admissionWith(tokenKeys)
  const token = signer.sign(pullClaims(REPOSITORY), { jwk: signer.publicJwk })
  const claims: PullClaims = {
    kind: 'pull',
    cluster: CLUSTER,
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

test('an arbitrary signing input is refused and nothing worse', () => {
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
  expect(admission.needsProof({ registry: registry.host })).toBe(true)
  expect(admission.needsProof({ registry: 'unknown.example' as PullClaims['registry'] })).toBe(true)
})

/** A peer token, minted as this cluster's tracker does unless `changes` say otherwise, and the admission of a peer. */
function setUpIntrospection(changes: Partial<Parameters<typeof mintPeerToken>[1]> = {}) {
  const registries = openRegistries([{ ...registry.config, kind: 'introspect' }])
  const key = peerTokenKey(CLUSTER, generateKeyPairSync('ed25519').privateKey)
  const spki = randomBytes(91)
  const nowMs = Date.now()
  const minted = {
    cluster: CLUSTER,
    registry: registry.host,
    repository: REPOSITORY,
    spki,
    nowMs,
    ...changes,
  }
  const token = mintPeerToken(key, minted)
  const tokenKeys = new TokenKeys({ registries })
  tokenKeys.adopt([
    peerTokenTrust(CLUSTER, registry.host, key),
    peerTokenTrust(minted.cluster, registry.host, key),
  ])
  const claims: PullClaims = {
    ...setUp('ES256').claims,
    tokenHash: parseSigningInput(signingInputOf(token)).hash,
  }
  const admission = admissionWith(tokenKeys, registries)
  const admit = (certificateKey = keyThumbprint(spki), bent: Partial<PullClaims> = {}) => {
    const prover = prepareProver(token, peerTokenTrust(CLUSTER, registry.host, key).jwk)
    const binding = bindingOf()
    const message = { signingInput: prover.signingInput, proof: prover.prove(binding) }
    admission.checkProof({ ...claims, ...bent }, message, binding, certificateKey)
  }
  return { admit, tokenKeys, admission, claims }
}

test("a peer token of the cluster's tracker is proof for the key that it names", () => {
  expect(() => setUpIntrospection().admit()).not.toThrow()
})

test('a peer token is refused with another certificate key, repository, registry or grant time', () => {
  const { admit } = setUpIntrospection()
  expect(() => admit('f'.repeat(64))).toThrow(PeerRefusedError)
  const hourAgo = Math.floor(Date.now() / 1000) - 3600
  for (const bent of [{ repository: 'team/other' as typeof REPOSITORY }, { grantedAtSeconds: hourAgo }])
    expect(() => admit(undefined, bent)).toThrow(PeerRefusedError)
  const elsewhere = setUpIntrospection({ registry: 'elsewhere.example' as PullClaims['registry'] })
  expect(() => elsewhere.admit()).toThrow(PeerRefusedError)
})

test("a peer token of another cluster's tracker is refused, even when its key is trusted", () => {
  const { admit } = setUpIntrospection({ cluster: 'cfedcba9876543210' as ClusterId })
  expect(() => admit()).toThrow(PeerRefusedError)
})

test('a peer token is refused once the tracker no longer vouches for its key', () => {
  const { admit, tokenKeys } = setUpIntrospection()
  tokenKeys.adopt([])
  expect(() => admit()).toThrow(PeerRefusedError)
})

test('a signed token that names no key is refused for a registry whose credentials need introspection', () => {
  const { tokenKeys, admission, claims } = setUpIntrospection()
  const signer = makeSigner('ES256')
  const issuer = `urn:shoal:tracker:${CLUSTER}`
  tokenKeys.adopt([
    { registry: registry.host, issuer, audience: registry.host, jwk: { ...signer.publicJwk } },
  ])
  const token = signer.sign(pullClaims(REPOSITORY, { iss: issuer, aud: registry.host }))
  const prover = prepareProver(token, signer.publicJwk)
  const binding = bindingOf()
  const message = { signingInput: prover.signingInput, proof: prover.prove(binding) }
  const bound = { ...claims, tokenHash: parseSigningInput(prover.signingInput).hash }
  expect(() => admission.checkProof(bound, message, binding, 'key')).toThrow('bound to no key')
})

test('a registry of kind none needs a proof once somebody sent it a credential, also after a restart', () => {
  const registries = openRegistries([{ ...registry.config, kind: 'none' }])
  const blob = { registry: registry.host, digest: BLOB }
  const told: string[] = []
  const begin = () => {
    const onNotOpen = (host: string) => told.push(host)
    const seen = new CredentialsSeen({ registries, dataDir: folder, log, onNotOpen })
    const tokenKeys = new TokenKeys({ registries })
    return {
      seen,
      admission: new Admission({
        tokenKeys,
        credentialsSeen: seen,
        cluster: () => CLUSTER,
        freshTrust: async () => {},
      }),
    }
  }
  const first = begin()
  expect(first.admission.needsProof(blob)).toBe(false)
  first.seen.note(registry.host)
  first.seen.note(registry.host)
  expect(first.admission.needsProof(blob)).toBe(true)
  expect(told).toEqual([registry.host])
  expect(begin().admission.needsProof(blob)).toBe(true)
  expect(told).toEqual([registry.host, registry.host])
})
