import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto'
import type { ClusterId } from './metainfo.ts'
import type { RegistryHost, Repository } from './repository.ts'
import { canonicalKey, thumbprintOf } from './token-algorithms.ts'
import type { TokenKey } from './tracker-api.ts'

/**
 * Peer tokens (docs/decisions/0003-peer-tokens.md). The tracker mints one where peers cannot verify the caller's
 * credential, once the registry has accepted it, or serves the repository to strangers. It has the form of a registry token (EdDSA), so that the holder proves
 * it to peers like any other. It is bound to the key of one pull, so that it is useless with another certificate.
 */

/** Short: peers check a token as of the time of the grant, when it is minted. */
export const PEER_TOKEN_SECONDS = 300
/** PKCS#8 (RFC 8410) of an Ed25519 key, up to the 32 bytes of its seed. */
const ED25519_PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')

const ISSUER_PREFIX = 'urn:shoal:tracker:'

export function peerTokenIssuer(cluster: ClusterId): string {
  return ISSUER_PREFIX + cluster
}

/** Whether the issuer is the tracker of some cluster. */
export function isPeerTokenIssuer(issuer: string): boolean {
  return issuer.startsWith(ISSUER_PREFIX)
}

/** SHA-256 (64 hex digits) of a DER SubjectPublicKeyInfo; a peer token names the pull's key by it. */
export function keyThumbprint(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex')
}

/**
 * The key with which a cluster's tracker signs peer tokens. It is derived from a sealed key of the cluster, so it is never
 * stored, and changes with that key. HKDF (RFC 5869) keeps the two independent.
 */
export function peerTokenKey(cluster: ClusterId, batchKey: KeyObject): KeyObject {
  const secret = Buffer.from(batchKey.export({ format: 'jwk' }).d!, 'base64url')
  const seed = Buffer.from(hkdfSync('sha256', secret, cluster, 'shoal peer token key v1', 32))
  return createPrivateKey({ key: Buffer.concat([ED25519_PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' })
}

/** The key that members of the cluster must trust to verify peer tokens for the registry. */
export function peerTokenTrust(cluster: ClusterId, registry: RegistryHost, key: KeyObject): TokenKey {
  return { registry, issuer: peerTokenIssuer(cluster), audience: registry, jwk: peerTokenJwk(key) }
}

type PublicJwk = JsonWebKey & { kid: string }

/** Every grant and heartbeat tells it, and making it costs 10 µs: a tenth of a heartbeat. */
const publicHalves = new WeakMap<KeyObject, PublicJwk>()

/** The public half, with the `kid` that peer tokens name. */
export function peerTokenJwk(key: KeyObject): PublicJwk {
  const known = publicHalves.get(key)
  if (known !== undefined) return known
  const jwk = canonicalKey(createPublicKey(key).export({ format: 'jwk' }))!
  const named = { ...jwk, kid: thumbprintOf(jwk).toString('base64url') }
  publicHalves.set(key, named)
  return named
}

export interface PeerTokenClaims {
  cluster: ClusterId
  registry: RegistryHost
  repository: Repository
  /** DER SubjectPublicKeyInfo of the pull's key. */
  spki: Uint8Array
  nowMs: number
}

/** @returns the token in compact form; give it only to the node that asked */
export function mintPeerToken(key: KeyObject, claims: PeerTokenClaims): string {
  const nowSeconds = Math.floor(claims.nowMs / 1000)
  const header = { typ: 'JWT', alg: 'EdDSA', kid: peerTokenJwk(key).kid }
  const payload = {
    iss: peerTokenIssuer(claims.cluster),
    aud: claims.registry,
    nbf: nowSeconds,
    exp: nowSeconds + PEER_TOKEN_SECONDS,
    access: [{ type: 'repository', name: claims.repository, actions: ['pull'] }],
    cnf: { 'spki-sha256': keyThumbprint(claims.spki) },
  }
  const signingInput = [header, payload].map(encoded).join('.')
  return `${signingInput}.${sign(null, Buffer.from(signingInput), key).toString('base64url')}`
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
