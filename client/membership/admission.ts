import type { JsonWebKey } from 'node:crypto'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { CredentialsSeen } from '../../core/credentials-seen.ts'
import { ShoalError } from '../../core/errors.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { isPeerTokenIssuer, peerTokenIssuer } from '../../core/peer-token.ts'
import {
  grantsPull,
  isValidAt,
  parseSigningInput,
  type SignedClaims,
  signingInputHash,
} from '../../core/registry-token.ts'
import { thumbprintOf } from '../../core/token-algorithms.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import { type ProofBinding, verifyTokenProof } from '../../core/token-proof/index.ts'
import type { BlobKey } from '../client.ts'
import { PeerRefusedError } from '../errors.ts'
import type { ProofMessage } from '../wire/extensions.ts'

/** Remembered verified proofs, two hashes each. */
const REMEMBERED_MAX = 4096

/** The token that the other side of a link has proven. */
export interface ProvenToken {
  registry: PullClaims['registry']
  token: SignedClaims
}

/** The other side's token is signed with a key that this node does not know: `ask` the tracker, check once more, then refuse. */
export class TokenKeyUnknownError extends PeerRefusedError {
  readonly ask: () => Promise<void>

  constructor(ask: () => Promise<void>) {
    super('the token is not signed with a trusted key')
    this.ask = ask
  }
}

export interface AdmissionOptions {
  tokenKeys: TokenKeys
  credentialsSeen: CredentialsSeen
  /** This node's cluster; undefined before it joined. */
  cluster: () => ClusterId | undefined
  /** Resolves when the tracker has said what the cluster trusts now, or does not answer. Never rejects. */
  freshTrust: () => Promise<void>
}

/**
 * Decides who may download what from this node (docs/security.md, "Malicious node in the same cluster"). TLS has
 * already verified the certificate against the cluster's authorities; the link checks revocation and expiry.
 */
export class Admission {
  readonly #tokenKeys: TokenKeys
  readonly #credentialsSeen: CredentialsSeen
  readonly #cluster: AdmissionOptions['cluster']
  readonly #freshTrust: AdmissionOptions['freshTrust']
  /**
   * Valid proofs: by certificate key, registry, token key and signing input. Every handshake proves the certificate's
   * key.
   */
  readonly #proven = new BoundedMap<string, true>(REMEMBERED_MAX)

  constructor(options: AdmissionOptions) {
    this.#credentialsSeen = options.credentialsSeen
    this.#cluster = options.cluster
    this.#freshTrust = options.freshTrust
    this.#tokenKeys = options.tokenKeys
  }

  /** @throws PeerRefusedError unless the certificate was issued for pulling this blob from this registry */
  checkCertificate(claims: CertificateClaims, blob: BlobKey): PullClaims {
    if (claims.kind !== 'pull') throw new PeerRefusedError(`a ${claims.kind} certificate allows no downloads`)
    if (claims.registry !== blob.registry)
      throw new PeerRefusedError('the certificate is for another registry')
    if (!claims.blobs.includes(blob.digest))
      throw new PeerRefusedError('the certificate does not name this blob')
    return claims
  }

  /** A registry that is configured as `none`, and never asked for a credential, has no token to prove. */
  needsProof({ registry }: Pick<BlobKey, 'registry'>): boolean {
    return !this.#credentialsSeen.isOpen(registry)
  }

  /** Checking this proof costs next to nothing: one of the same token under the same key was right before. */
  hasProven(claims: PullClaims, { signingInput }: ProofMessage, certificateKey: string): boolean {
    if (signingInputHash(signingInput) !== claims.tokenHash) return false
    try {
      const token = parseSigningInput(signingInput)
      const key = this.#tokenKeys.keyFor(claims.registry, token)
      return key !== undefined && this.#proven.has(nameOfProof({ claims, certificateKey, token, key }))
    } catch (error) {
      if (error instanceof ShoalError) return false
      throw error
    }
  }

  /**
   * @param certificateKey identifies the other side's certificate key (hex of a hash of its SPKI)
   * @throws PeerRefusedError unless the other side holds a token that grants pull on the certificate's repository,
   *   was valid when the grant was made, is the one the certificate is bound to, and is signed with a trusted key;
   *   TokenKeyUnknownError if only the last is missing
   * @returns the token that was proven
   */
  checkProof(
    claims: PullClaims,
    message: ProofMessage,
    binding: ProofBinding,
    certificateKey: string,
  ): SignedClaims {
    // Checked before any of it is parsed: the tracker has read the token that it bound the certificate to, and no
    // other.
    if (signingInputHash(message.signingInput) !== claims.tokenHash)
      throw new PeerRefusedError('the certificate is bound to another token')
    try {
      const token = parseSigningInput(message.signingInput)
      if (!grantsPull(token, claims.repository)) throw new PeerRefusedError('the token grants no pull')
      if (!isValidAt(token, claims.grantedAtSeconds))
        throw new PeerRefusedError('the token was not valid when the grant was made')
      this.#checkBinding(token, certificateKey)
      const key = this.#tokenKeys.keyFor(claims.registry, token)
      // The tracker granted this pull, so it trusts the key: it may be newer than the last heartbeat.
      if (!key) throw new TokenKeyUnknownError(this.#freshTrust)
      const remembered = nameOfProof({ claims, certificateKey, token, key })
      if (this.#proven.has(remembered)) return token
      verifyTokenProof({ signingInput: message.signingInput, proof: message.proof, key, binding })
      this.#proven.set(remembered, true)
      return token
    } catch (cause) {
      if (cause instanceof PeerRefusedError) throw cause
      if (cause instanceof ShoalError) {
        throw new PeerRefusedError('the proof does not hold', { cause })
      }
      throw cause
    }
  }

  /** Whether the cluster's tracker withdrew the key that minted the token after it was proven. */
  isWithdrawn(proven: ProvenToken | undefined): boolean {
    const cluster = this.#cluster()
    if (proven === undefined || cluster === undefined) return false
    const isMinted = proven.token.issuer === peerTokenIssuer(cluster)
    return isMinted && this.#tokenKeys.keyFor(proven.registry, proven.token) === undefined
  }

  /** What the token itself says decides: a peer token counts only in its own cluster, under the key it was minted for. */
  #checkBinding(token: SignedClaims, certificateKey: string): void {
    if (token.boundKey !== undefined && token.boundKey !== certificateKey)
      throw new PeerRefusedError('the token is bound to another key')
    if (!isPeerTokenIssuer(token.issuer)) return
    if (token.boundKey === undefined) throw new PeerRefusedError('the token is bound to no key')
    const cluster = this.#cluster()
    if (cluster === undefined || token.issuer !== peerTokenIssuer(cluster))
      throw new PeerRefusedError("the token is not of this cluster's tracker")
  }
}

function nameOfProof(proof: {
  claims: PullClaims
  certificateKey: string
  token: SignedClaims
  key: JsonWebKey
}): string {
  const { claims, certificateKey, token, key } = proof
  return [certificateKey, claims.registry, thumbprintOf(key).toString('hex'), token.hash].join(' ')
}
