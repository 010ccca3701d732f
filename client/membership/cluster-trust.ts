import { createPrivateKey, type JsonWebKey, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { CertificateClaims } from '../../core/certificate-claims.ts'
import { batchKeyFromRaw, type HashBatch, isHashBatchSigned } from '../../core/hash-batch.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { peerTokenIssuer } from '../../core/peer-token.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { TokenKeys } from '../../core/token-keys.ts'
import type { ClusterTrust, Revocation, TokenKey } from '../../core/tracker-api.ts'
import { PeerProtocolError } from '../errors.ts'
import { Blocks } from './blocks.ts'
import { CarriedCopies } from './carried-copies.ts'
import type { TrustRecord } from './node-memory.ts'

/** A certificate of this node towards peers, ready for use, with the data that the proof binds to. */
export interface PeerCredential {
  /** Trusts the cluster's authorities as they were when it was made. */
  readonly context: SecureContext
  readonly certificatePem: string
  readonly expiresAtMs: number
  /** ECDSA with SHA-256, by the certificate's key. */
  sign(bytes: Buffer): Buffer
}

/** Bound of certificates of which is known whether the issuing authority issued them. */
const OUTDATED_MAX = 256
/** Remembered former batch keys: enough for a few changes close together. */
const FORMER_KEYS_MAX = 4

/**
 * The cluster's trust as the tracker last reported it: authorities, keys that sign hash batches, token keys, and
 * revocations.
 */
export class ClusterTrustState {
  /** Undefined until the node has joined. */
  cluster: ClusterId | undefined
  readonly #tokenKeys: TokenKeys
  /** Replaced only when something in it changed. */
  #authoritiesPem: readonly string[] = []
  #outdated = new BoundedMap<string, boolean>(OUTDATED_MAX)
  #authorityCertificates: X509Certificate[] = []
  #hasChanged = false
  /** The first one signs. */
  #batchKeys: KeyObject[] = []
  #batchKeysRaw: readonly string[] = []
  #formerBatchKeys: KeyObject[] = []
  #batchKeyChanges = 0
  #peerTokenKeys: readonly TokenKey[] = []
  /** The first one signs; empty with an older tracker. */
  #mintingKeys: readonly JsonWebKey[] = []
  readonly #revokedNodes = new Set<NodeId>()
  readonly #revokedPulls = new Set<string>()
  #revocationsSeen = 0
  readonly carried = new CarriedCopies()
  readonly blocks = new Blocks()
  #heard: { trust: ClusterTrust; atMs: number } | undefined

  constructor(tokenKeys: TokenKeys) {
    this.#tokenKeys = tokenKeys
  }

  get authorities(): readonly string[] {
    return this.#authoritiesPem
  }

  get revocationsVersion(): number {
    return this.#revocationsSeen
  }

  /** For the time after a restart; null until a tracker was heard. */
  record(): TrustRecord | null {
    if (this.cluster === undefined || this.#heard === undefined) return null
    return {
      cluster: this.cluster,
      heardAtMs: this.#heard.atMs,
      trust: this.#heard.trust,
      revocationsVersion: this.#revocationsSeen,
      revokedNodes: [...this.#revokedNodes],
      revokedPulls: [...this.#revokedPulls],
      carried: this.carried.record(),
      blocks: this.blocks.record(),
    }
  }

  /** Trusts what the tracker said before a restart, until it says something else. */
  restore(record: TrustRecord): void {
    this.cluster = record.cluster as ClusterId
    this.update(record.trust)
    this.#heard = { trust: record.trust, atMs: record.heardAtMs }
    for (const node of record.revokedNodes) this.#revokedNodes.add(node as NodeId)
    for (const pull of record.revokedPulls) this.#revokedPulls.add(pull)
    if (record.carried !== undefined) this.carried.restore(record.carried)
    if (record.blocks !== undefined) this.blocks.restore(record.blocks)
    // A node of before carried none: it asks for all revocations again.
    this.#revocationsSeen = record.carried === undefined ? 0 : record.revocationsVersion
  }

  update(trust: ClusterTrust): void {
    this.#heard = { trust, atMs: Date.now() }
    this.#updateAuthorities(trust.authorities)
    this.#updateBatchKeys(trust.batchKeys)
    this.#peerTokenKeys = trust.tokenKeys
    this.#mintingKeys = trust.peerTokenKeys ?? []
    const issuer = this.cluster === undefined ? undefined : peerTokenIssuer(this.cluster)
    const minting = issuer === undefined ? undefined : { issuer, keys: this.#mintingKeys }
    this.#tokenKeys.adopt(trust.tokenKeys, minting)
  }

  /** Rises when the trusted batch keys change, or another one signs. */
  get batchKeysVersion(): number {
    return this.#batchKeyChanges
  }

  revoke(version: number, revocations: readonly Revocation[], isFull: boolean): void {
    if (isFull) {
      this.#revokedNodes.clear()
      this.#revokedPulls.clear()
    }
    for (const revocation of revocations) {
      if (revocation.kind === 'node') this.#revokedNodes.add(revocation.node)
      else this.#revokedPulls.add(revocation.pull)
    }
    this.carried.take(revocations, isFull)
    this.#revocationsSeen = version
  }

  /** A pull of a blocked repository counts as revoked, whenever it was certified. */
  isRevoked(claims: CertificateClaims): boolean {
    if (this.#revokedNodes.has(claims.node)) return true
    return (
      claims.kind === 'pull' && (this.#revokedPulls.has(claims.pullId) || this.blocks.hasRepository(claims))
    )
  }

  isSigned(batch: HashBatch): boolean {
    return this.cluster !== undefined && isHashBatchSigned(this.#batchKeys, this.cluster, batch)
  }

  /** Signed by the current signing key. */
  isNewlySigned(batch: HashBatch): boolean {
    return this.cluster !== undefined && isHashBatchSigned(this.#batchKeys.slice(0, 1), this.cluster, batch)
  }

  /**
   * Whether a batch from a peer counts. A batch of a withdrawn key does not: the peer may not have heard of the
   * withdrawal.
   * @throws PeerProtocolError when no key of this cluster's tracker ever signed it
   */
  isCounted(batch: HashBatch): boolean {
    if (this.isSigned(batch)) return true
    const wasSigned =
      this.cluster !== undefined && isHashBatchSigned(this.#formerBatchKeys, this.cluster, batch)
    if (wasSigned) return false
    throw new PeerProtocolError('a hash batch that the tracker did not sign')
  }

  /** True when the tracker mints the registry's peer tokens with another key than this one now. */
  isPeerTokenOutdated(registry: RegistryHost, keyId: string | undefined): boolean {
    const issuer = this.cluster === undefined ? undefined : peerTokenIssuer(this.cluster)
    // The tracker lists the signing key first.
    const [minting] = this.#mintingKeys
    if (minting !== undefined) return minting.kid !== keyId
    const signing = this.#peerTokenKeys.find((key) => key.registry === registry && key.issuer === issuer)
    return signing !== undefined && signing.jwk.kid !== keyId
  }

  /**
   * True when another authority than this certificate's issues now: the certificate is replaced while both are
   * trusted. The tracker lists the issuing authority first.
   */
  isOutdated(certificatePem: string): boolean {
    const [issuing] = this.#authorityCertificates
    if (issuing === undefined) return false
    // Every heartbeat asks this of every certificate in use, and reading one takes 0.1 ms.
    const isOutdated =
      this.#outdated.get(certificatePem) ?? !new X509Certificate(certificatePem).checkIssued(issuing)
    this.#outdated.set(certificatePem, isOutdated)
    return isOutdated
  }

  /**
   * Whether the certificates of a connection, whose chains TLS verified when it began, still belong to trusted
   * authorities. The signature decides: the holder of a withdrawn authority's key can write any issuer into a
   * certificate.
   */
  vouchesFor(certificates: readonly X509Certificate[]): boolean {
    if (!this.#hasChanged) return true
    return certificates.every((certificate) => this.#isOfAuthority(certificate))
  }

  /** The check that TLS does for its own certificates: issued by a trusted authority, and valid now. */
  hasIssued(certificate: X509Certificate): boolean {
    const now = new Date()
    const { ca, validFromDate, validToDate } = certificate
    return !ca && validFromDate <= now && now < validToDate && this.#isOfAuthority(certificate)
  }

  /** A TLS context that presents this certificate and trusts only the cluster's authorities. */
  credential(certificatePem: string, privateKeyPem: string, validForSeconds: number): PeerCredential {
    const make = () => ({
      authorities: this.#authoritiesPem,
      context: createSecureContext({
        cert: certificatePem,
        key: privateKeyPem,
        ca: [...this.#authoritiesPem],
        minVersion: 'TLSv1.3',
      }),
    })
    let made = make()
    const currentContext = () => {
      if (made.authorities !== this.#authoritiesPem) made = make()
      return made.context
    }
    return {
      get context() {
        return currentContext()
      },
      certificatePem,
      sign: (bytes) => sign('sha256', bytes, createPrivateKey(privateKeyPem)),
      expiresAtMs: Date.now() + validForSeconds * 1000,
    }
  }

  #updateBatchKeys(raw: readonly string[]): void {
    if (raw.join() === this.#batchKeysRaw.join()) return
    const former = this.#batchKeys.filter((_, at) => !raw.includes(this.#batchKeysRaw[at]!))
    this.#formerBatchKeys = [...former, ...this.#formerBatchKeys].slice(0, FORMER_KEYS_MAX)
    this.#batchKeysRaw = raw
    this.#batchKeys = raw.map(batchKeyFromRaw)
    this.#batchKeyChanges += 1
  }

  #isOfAuthority(certificate: X509Certificate): boolean {
    return this.#authorityCertificates.some(({ publicKey }) => certificate.verify(publicKey))
  }

  #updateAuthorities(authorities: readonly string[]): void {
    if (authorities.join() === this.#authoritiesPem.join()) return
    this.#hasChanged = this.#authoritiesPem.length > 0
    this.#authoritiesPem = authorities
    this.#authorityCertificates = authorities.map((pem) => new X509Certificate(pem))
    this.#outdated = new BoundedMap(OUTDATED_MAX)
  }
}
