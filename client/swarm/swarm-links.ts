import type { X509Certificate } from 'node:crypto'
import type { Logger } from 'pino'
import type { CertificateClaims, PullClaims } from '../../core/certificate-claims.ts'
import type { Boundary, Defects } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import {
  allPieces,
  type NodeId,
  type PieceIndex,
  type PieceLayout,
  type SwarmId,
} from '../../core/metainfo.ts'
import type { TokenProver } from '../../core/token-proof/index.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { BlobKey } from '../client.ts'
import type { Download, Source, SourceLimits } from '../engine/download.ts'
import type { Place } from '../engine/link-places.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import { PeerProtocolError, PeerRefusedError, type PieceCorruptError } from '../errors.ts'
import type { Admission } from '../membership/admission.ts'
import type { ClusterTrustState, PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import type { PeerAddresses } from '../peer/peer-addresses.ts'
import type { PeerLink } from '../peer/peer-link.ts'
import type { ListeningSwarm } from '../peer/peer-listener.ts'
import { PeerLog } from '../peer/peer-log.ts'
import type { SendBuffers } from '../peer/send-buffers.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import { AcceptedLinks } from './accepted-links.ts'
import { DIALS_MAX, Dials } from './dials.ts'
import { Uploads } from './uploads.ts'

export interface SwarmLinksOptions {
  stored: StoredBlob
  download: Download
  log: Logger
  node: NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  sendBuffers: SendBuffers
  uploadLimit: RateLimit
  defects: Defects
  /** The swarm's boundary, for work that belongs to no single connection. */
  boundary: Boundary
  /** This node is downloading. */
  isWanted(): boolean
  grant(): Grant | undefined
  addresses: PeerAddresses
  dial(peer: Peer, host: SwarmLinks, credential: PeerCredential): void
  onAdmitted(): void
  /** A batch that the tracker signed. */
  onBatch(batch: HashBatch): void
  onBadPeer(swarm: SwarmId, node: NodeId): void
  /** The pieces that may be announced: those with a known hash. */
  announceable(): Bitfield
}

/** Connections of one swarm: 12 dialled, about 24 accepted, and room for those that cross. */
export const LINKS_MAX = 40

/**
 * The connections of one swarm: dials, admits and bans peers, and passes messages between links and download.
 * Invariant: a link is in `#links` only after both handshakes, one for each peer.
 */
export class SwarmLinks implements ListeningSwarm {
  readonly defects: Defects
  readonly dials: Dials
  readonly #options: SwarmLinksOptions
  readonly #links = new Map<NodeId, { link: PeerLink; source: Source }>()
  readonly #accepted = new AcceptedLinks()
  readonly #linkOfSource = new WeakMap<Source, PeerLink>()
  readonly #pending = new Set<PeerLink>()
  readonly #uploads: Uploads
  readonly #log: PeerLog

  constructor(options: SwarmLinksOptions) {
    this.#options = options
    this.#log = new PeerLog(options.log)
    this.defects = options.defects
    this.dials = new Dials({
      isWanted: () => options.isWanted(),
      isUploadOnly: () => this.isUploadOnly,
      grant: () => options.grant(),
      isConnected: (node) => node === this.node || this.#links.has(node),
      linkCount: () => this.#links.size,
      addresses: options.addresses,
      dial: (peer, credential) => options.dial(peer, this, credential),
    })
    const [isSeed, nowMs] = [() => this.isUploadOnly, () => performance.now()]
    const piecesHad = () => options.stored.have.count
    const holdersOf = (piece: PieceIndex) => options.download.holdersOf(piece)
    this.#uploads = new Uploads(options, { isSeed, piecesHad, holdersOf, nowMs, random: Math.random })
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
  get bytesSent(): number {
    return this.#uploads.bytesSent
  }
  get nodes(): NodeId[] {
    return [...this.#links.keys()]
  }
  get wantsPeers(): boolean {
    return this.#options.isWanted() && !this.isUploadOnly && this.#links.size < DIALS_MAX
  }

  addPeers(peers: readonly Peer[]): void {
    // A stock client has no token to prove: where one is required it is no peer.
    this.dials.peers.add(peers.filter(({ infoHash }) => infoHash === undefined || !this.needsProof()))
    this.dials.connect()
  }

  /** A newcomer from this network needs a place. @returns false when no link gives way */
  makeRoom(network: string): boolean {
    const all = this.#all()
    if (all.length < LINKS_MAX) return true
    const leaving = this.#accepted.whoGivesWay(all, this.#pending, network)
    leaving?.close(new PeerProtocolError('its place goes to a newcomer'))
    return leaving !== undefined
  }

  placeOf(link: PeerLink): Place {
    return this.#accepted.placeOf(link, this.#pending.has(link))
  }

  /**
   * A connection whose TLS handshake is finished.
   * @param network that it was accepted from; undefined for one that this node dialled
   */
  attach(link: PeerLink, network?: string): void {
    if (network !== undefined) this.#accepted.add(link, network)
    // A peer that opens many connections and stays silent must not take the places of others.
    for (const other of this.#pending) {
      const isRepeated = other.node === link.node && other.isDialler === link.isDialler
      if (isRepeated) other.close(new PeerProtocolError('a second connection'))
    }
    this.#pending.add(link)
  }

  /**
   * The pull certificate was renewed: dials again before connections end with the old one. The newer connection
   * stays.
   */
  redial(): void {
    for (const { link } of this.#links.values()) this.dials.again(link)
  }

  /** Closes links to revoked nodes, and links that rest on a withdrawn authority or key. */
  closeRevoked(): void {
    const { trust, admission } = this.#options
    for (const link of this.#all()) {
      // A link whose check fails ends as well, and does not affect the others.
      link.boundary.run(() => {
        if (this.isRevoked(link.claims)) link.close(new PeerRefusedError('revoked'))
        else if (!trust.vouchesFor(link.proof.certificates)) this.#closeWithdrawn(link)
        else if (admission.isWithdrawn(link.proof.proven)) this.#closeWithdrawn(link)
      })
    }
  }

  /** The other side did nothing wrong, and may have a new certificate by now. */
  #closeWithdrawn(link: PeerLink): void {
    link.close(new PeerRefusedError('the authority of a certificate, or the key of a token, was withdrawn'))
    if (!this.isUploadOnly) this.dials.again(link)
  }

  // --- LinkHost: rules -----------------------------------------------------------------------------------------

  isRevoked(claims: CertificateClaims): boolean {
    return this.#options.trust.isRevoked(claims) || this.dials.peers.isBanned(claims.node)
  }

  prover(): TokenProver | undefined {
    return this.isUploadOnly ? undefined : this.#options.grant()?.prover
  }

  pullCredential(): PeerCredential | undefined {
    const credential = this.isUploadOnly ? undefined : this.#options.grant()?.credential
    return credential && credential.expiresAtMs > Date.now() ? credential : undefined
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
    return this.#options.stored.have.has(piece)
  }

  piecesOf(link: PeerLink): number {
    return this.#sourceOf(link)?.offered.count ?? 0
  }

  // --- LinkHost: events ----------------------------------------------------------------------------------------

  onOpen(link: PeerLink, limits: SourceLimits): void {
    this.#pending.delete(link)
    this.dials.ended(link.node)
    const before = this.#links.get(link.node)
    if (before && !this.#isPreferred(link, before.link)) throw new PeerProtocolError('a second connection')
    if (this.isRevoked(link.claims)) throw new PeerRefusedError('revoked or banned')
    before?.link.close(undefined)
    const source = this.#options.download.addSource(link, limits)
    this.#links.set(link.node, { link, source })
    this.#linkOfSource.set(source, link)
    this.#uploads.add(link.lane)
    this.dials.peers.connected(link.node)
  }

  /**
   * Of two connections that cross, the one dialled by the lower node id stays. Of two in the same direction, the
   * newer stays.
   */
  #isPreferred(link: PeerLink, before: PeerLink): boolean {
    if (link.isDialler === before.isDialler) return true
    return link.isDialler === this.node < link.node
  }

  onAdmitted(link: PeerLink): void {
    this.#options.onAdmitted()
    link.welcome(this.#options.stored.hashes.batches, this.#options.announceable())
  }

  onBatch(_link: PeerLink, batch: HashBatch): boolean {
    const { hashes } = this.#options.stored
    // Each peer passes the batch on. In a cold swarm, checking every copy cost more than everything else together.
    if (batch.epoch < hashes.epoch || hashes.includes(batch)) return false
    if (!this.#options.trust.isCounted(batch)) return false
    this.#options.onBatch(batch)
    return true
  }

  onOffer(link: PeerLink, pieces: PieceIndex[] | 'all'): boolean {
    const source = this.#sourceOf(link)
    if (!source) return false
    return this.#options.download.offers(source, pieces === 'all' ? allPieces(this.layout) : pieces)
  }

  onOfferBits(link: PeerLink, bits: Buffer): void {
    const field = Bitfield.fromBytes(bits, this.layout.pieceCount)
    const source = this.#sourceOf(link)
    const offered = [...allPieces(this.layout)].filter((piece) => field.has(piece))
    if (source) this.#options.download.offers(source, offered)
  }

  onChoke(link: PeerLink, isChoked: boolean): boolean {
    const source = this.#sourceOf(link)
    if (!source || source.isUnchoked === !isChoked) return false
    if (isChoked) this.#options.download.choked(source)
    else this.#options.download.unchoked(source)
    return true
  }

  onBlockStart(link: PeerLink, block: Parameters<Download['blockStarts']>[1]): Uint8Array | undefined {
    const source = this.#sourceOf(link)
    return source && this.#options.download.blockStarts(source, block)
  }

  onBlockEnd(link: PeerLink, block: Parameters<Download['blockEnds']>[1]): void {
    this.#accepted.received(link)
    const source = this.#sourceOf(link)
    if (source) this.#options.download.blockEnds(source, block)
  }

  onReject(link: PeerLink, block: Parameters<Download['rejected']>[1]): boolean {
    const source = this.#sourceOf(link)
    return source !== undefined && this.#options.download.rejected(source, block)
  }

  onUploadWanted(): void {
    this.#uploads.send()
  }

  onClosed(link: PeerLink, reason: ShoalError | undefined): void {
    this.#pending.delete(link)
    // A link may end before it was open; then its peer is dialled again.
    if (link.isDialler) this.dials.ended(link.node)
    this.#uploads.remove(link.lane)
    const entry = this.#links.get(link.node)
    if (entry?.link === link) {
      this.#links.delete(link.node)
      this.#options.download.removeSource(entry.source)
      this.dials.peers.postpone(link.node, Date.now())
    }
    if (reason) this.#log.tell(link.node, reason, { peer: link.node }, 'peer dropped')
  }

  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    for (const { link } of this.#links.values()) link.boundary.run(() => link.announce(batches, pieces))
  }

  /** The grant is new: peers that this node could only serve before can be asked now. */
  proveTokens(): void {
    for (const { link } of this.#links.values()) link.boundary.run(() => link.proveToken())
  }

  /** A piece comes whole from one source, so the sender of a bad one is certain, also after it has disconnected. */
  ban(source: Source, reason: PieceCorruptError): void {
    const link = this.#linkOfSource.get(source)
    if (!link) return
    this.dials.peers.ban(link.node)
    link.close(reason)
    this.#options.onBadPeer(this.swarm, link.node)
  }

  close(): void {
    for (const link of this.#all()) link.close(undefined)
  }

  #all(): PeerLink[] {
    return [...this.#pending, ...[...this.#links.values()].map(({ link }) => link)]
  }

  #sourceOf(link: PeerLink): Source | undefined {
    const entry = this.#links.get(link.node)
    return entry?.link === link ? entry.source : undefined
  }
}
