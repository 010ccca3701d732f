import type { X509Certificate } from 'node:crypto'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { Boundary, Defects } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { NodeId, PieceIndex, PieceLayout, SwarmId } from '../../core/metainfo.ts'
import type { SignedClaims } from '../../core/registry-token.ts'
import type { ProofBinding, TokenProver } from '../../core/token-proof/index.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { BlobKey } from '../client.ts'
import type { SourceLimits, SourcePort } from '../engine/download.ts'
import type { ProofRate } from '../engine/proof-rate.ts'
import type { Admission, ProvenToken } from '../membership/admission.ts'
import type { ClusterTrustState, PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import type { Bitfield } from '../store/bitfield.ts'
import type { ProofMessage } from '../wire/extensions.ts'
import type { BlockAddress } from '../wire/messages.ts'
import type { PeerLane } from './upload-lane.ts'

/** A peer of one swarm, whatever carries its messages: a connection of its own, or a link between nodes. */
export interface SwarmLink {
  readonly node: NodeId
  readonly isDialler: boolean
  readonly claims: CertificateClaims
  /** What the connection rests on, beside what its link watches itself. */
  readonly certificates: readonly X509Certificate[]
  readonly proven: ProvenToken | undefined
  readonly boundary: Boundary
  /** Present when the other side may download. */
  readonly lane?: PeerLane
  /** Sends hashes before pieces; only pieces to a holder. */
  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void
  /** Never throws. */
  close(reason: ShoalError | undefined): void
}

/** A peer that this node downloads from, or will when it is allowed to. */
export interface SourceLink extends SwarmLink, SourcePort {
  /** Part of a link for all blobs, dialled to download where that is possible. */
  readonly isShared: boolean
  /** This node's pull is new: shows it. */
  proveToken(): void
}

/** A peer that downloads from this node. */
export interface ServedLink extends SwarmLink {
  readonly lane: PeerLane
  /** First messages to an admitted peer: hashes, pieces, and the unchoke. */
  welcome(batches: readonly HashBatch[], have: Bitfield): void
}

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

/** What links between nodes need of a swarm beside that. */
export interface SharedHost extends LinkHost<SwarmLink> {
  /** The pull under which this node downloads; undefined when it downloads nothing. */
  grant(): Grant | undefined
  /** Somebody reads the blob here. */
  isRead(): boolean
  /** The pieces that may be announced. */
  announceable(): Bitfield
  /** @returns false when all places are taken and none gives way */
  makeRoom(network: string): boolean
  /** The other side may download over this link. */
  onServing(link: ServedLink, network: string): void
  /** The other side has these pieces. @returns false when that was known */
  onTold(node: NodeId, pieces: Iterable<PieceIndex>): boolean
  /** A downloader that dialled this node can be dialled, too. */
  onDownloader(peer: Peer): void
  readonly dials: {
    /** The dial came to nothing, or to a link. */
    ended(node: NodeId): void
  }
}

/** What all links of a node share. */
export interface LinkParts<Link> {
  node(): NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  proofs: ProofRate
  defects: Defects
  listenPort(): number
  /** The swarm with this id, if this node has something of it. */
  hostOf(swarm: SwarmId): SharedHost | undefined
  /** Both handshakes are through. */
  onOpen(link: Link): void
  onClosed(link: Link, reason: ShoalError | undefined): void
}
