import type { X509Certificate } from 'node:crypto'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { NodeId, PieceIndex, PieceLayout, SwarmId } from '../../core/metainfo.ts'
import type { TokenProver } from '../../core/token-proof/index.ts'
import type { BlobKey } from '../client.ts'
import type { Admission } from '../membership/admission.ts'
import type { ClusterTrustState, PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { KnownPeers } from './known-peers.ts'

export interface LinkRulesOptions {
  stored: StoredBlob
  node: NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  /** This node is downloading. */
  isWanted(): boolean
  grant(): Grant | undefined
  /** The pieces that may be announced: those with a known hash. */
  announceable(): Bitfield
}

/** What the links of one swarm may do, and what they say of this node. */
export class LinkRules {
  readonly peers = new KnownPeers()
  /** The cluster withdrew the blob: nobody gets any of it from here. */
  isWithdrawn = false
  readonly #options: LinkRulesOptions

  constructor(options: LinkRulesOptions) {
    this.#options = options
  }

  get swarm(): SwarmId {
    return this.#options.stored.swarm
  }
  get blob(): BlobKey {
    return this.#options.stored.key
  }
  get layout(): PieceLayout {
    return this.#options.stored.layout
  }
  get node(): NodeId {
    return this.#options.node
  }
  get version(): string {
    return this.#options.version
  }
  get isUploadOnly(): boolean {
    return this.#options.stored.isComplete
  }

  isRead(): boolean {
    return this.#options.isWanted()
  }

  announceable(): Bitfield {
    return this.isWithdrawn ? new Bitfield(this.layout.pieceCount) : this.#options.announceable()
  }

  isRevoked(claims: CertificateClaims): boolean {
    return this.#options.trust.isRevoked(claims) || this.peers.isBanned(claims.node)
  }

  prover(): TokenProver | undefined {
    return this.isUploadOnly ? undefined : this.#options.grant()?.prover
  }

  pullCredential(): PeerCredential | undefined {
    return this.grant()?.credential
  }

  /** The pull under which this node downloads; undefined when it downloads nothing, or the certificate has ended. */
  grant(): Grant | undefined {
    const grant = this.isUploadOnly ? undefined : this.#options.grant()
    return grant && grant.credential.expiresAtMs > Date.now() ? grant : undefined
  }

  hasIssued(certificate: X509Certificate): boolean {
    return this.#options.trust.hasIssued(certificate)
  }

  needsProof(): boolean {
    return this.#options.admission.needsProof(this.blob)
  }

  checkCertificate(claims: CertificateClaims): PullClaims {
    return this.#options.admission.checkCertificate(claims, this.blob)
  }

  checkProof(...proof: Parameters<Admission['checkProof']>): ReturnType<Admission['checkProof']> {
    return this.#options.admission.checkProof(...proof)
  }

  hasPiece(piece: PieceIndex): boolean {
    return !this.isWithdrawn && this.#options.stored.have.has(piece)
  }
}
