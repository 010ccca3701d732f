import type { X509Certificate } from 'node:crypto'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { Defects } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { NodeId, PieceIndex, PieceLayout, SwarmId } from '../../core/metainfo.ts'
import type { SignedClaims } from '../../core/registry-token.ts'
import type { ProofBinding, TokenProver } from '../../core/token-proof/index.ts'
import type { BlobKey } from '../client.ts'
import type { SourceLimits } from '../engine/download.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { ProofMessage } from '../wire/extensions.ts'
import type { BlockAddress } from '../wire/messages.ts'

/**
 * The swarm as its links see it. Every function may throw a ShoalError to end the link. Those that return a boolean
 * return false when the message changed nothing. `Link` is the link itself; implementations that do not need it leave
 * it out.
 */
export interface LinkHost<Link = unknown> {
  readonly swarm: SwarmId
  readonly node: NodeId
  readonly blob: BlobKey
  readonly layout: PieceLayout
  readonly version: string
  readonly isUploadOnly: boolean
  readonly defects: Defects
  isRevoked(claims: CertificateClaims): boolean
  /** Present while this node downloads with a token. */
  prover(): TokenProver | undefined
  /** The pull certificate; present while this node downloads. */
  pullCredential(): PeerCredential | undefined
  /**
   * The certificate is valid now and issued by a trusted authority: the check that TLS does for its own certificates.
   */
  hasIssued(certificate: X509Certificate): boolean
  needsProof(): boolean
  checkCertificate(claims: CertificateClaims): PullClaims
  checkProof(
    claims: PullClaims,
    message: ProofMessage,
    binding: ProofBinding,
    certificateKey: string,
  ): SignedClaims
  hasPiece(piece: PieceIndex): boolean
  /** How many pieces the other side has announced. */
  piecesOf(link: Link): number
  /** Both handshakes are finished: the link counts as connected. */
  onOpen(link: Link, limits: SourceLimits): void
  /** The other side may download: sends it hashes and pieces. */
  onAdmitted(link: Link): void
  onBatch(link: Link, batch: HashBatch): boolean
  onOffer(link: Link, pieces: PieceIndex[] | 'all'): boolean
  onOfferBits(link: Link, bits: Buffer): void
  onChoke(link: Link, isChoked: boolean): boolean
  onBlockStart(link: Link, block: BlockAddress): Uint8Array | undefined
  onBlockEnd(link: Link, block: BlockAddress): void
  /** @returns false when it answers no cancel */
  onReject(link: Link, block: BlockAddress): boolean
  onUploadWanted(): void
  onClosed(link: Link, reason: ShoalError | undefined): void
}
