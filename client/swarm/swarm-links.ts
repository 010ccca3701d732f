import type { Logger } from 'pino'
import type { Boundary, Defects } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import { allPieces, type NodeId, type PieceIndex, type SwarmId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import type { Download, Source, SourceLimits } from '../engine/download.ts'
import type { Place } from '../engine/link-places.ts'
import { PieceHolders } from '../engine/piece-holders.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import { PeerOutdatedError, PeerProtocolError, PeerRefusedError, type PieceCorruptError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { ServedLink, SharedHost, SourceLink, SwarmLink } from '../peer/link-host.ts'
import type { NodeLinks } from '../peer/node-links.ts'
import type { PeerAddresses } from '../peer/peer-addresses.ts'
import type { ListeningSwarm } from '../peer/peer-listener.ts'
import { PeerLog } from '../peer/peer-log.ts'
import type { SendBuffers } from '../peer/send-buffers.ts'
import { Bitfield } from '../store/bitfield.ts'
import { AcceptedLinks } from './accepted-links.ts'
import { DIALS_MAX, Dials } from './dials.ts'
import { LinkRules, type LinkRulesOptions } from './link-rules.ts'
import { Uploads } from './uploads.ts'

export interface SwarmLinksOptions extends LinkRulesOptions {
  download: Download
  log: Logger
  sendBuffers: SendBuffers
  uploadLimit: RateLimit
  defects: Defects
  /** The swarm's boundary, for work that belongs to no single connection. */
  boundary: Boundary
  addresses: PeerAddresses
  links: Pick<NodeLinks, 'isLinked' | 'mayUse' | 'dialledCount'>
  dial(peer: Peer, host: SwarmLinks, credential: PeerCredential): void
  onAdmitted(): void
  /** A batch that the tracker signed. */
  onBatch(batch: HashBatch): void
  onBadPeer(swarm: SwarmId, node: NodeId): void
  /** The link to a peer that this node downloaded from has ended. */
  onLost(): void
}

/** Connections of one swarm: 12 dialled, about 24 accepted, and room for those that cross. */
export const LINKS_MAX = 40

/**
 * The connections of one swarm: dials, admits and bans peers, and passes messages between links and download.
 * Invariant: a link is in `#links` only after both handshakes, one for each peer. On links between nodes, what this node
 * downloads is in `#links` and what it serves in `#served`; other connections carry both.
 */
export class SwarmLinks extends LinkRules implements ListeningSwarm, SharedHost {
  readonly defects: Defects
  readonly dials: Dials
  readonly #options: SwarmLinksOptions
  readonly #links = new Map<NodeId, { link: SourceLink; source: Source }>()
  /** Who downloads over a link between nodes, by node. */
  readonly #served = new Map<NodeId, ServedLink>()
  readonly #accepted = new AcceptedLinks()
  readonly #holders: PieceHolders
  readonly #linkOfSource = new WeakMap<Source, SourceLink>()
  readonly #pending = new Set<SourceLink>()
  readonly #uploads: Uploads
  readonly #log: PeerLog

  constructor(options: SwarmLinksOptions) {
    super(options)
    this.#options = options
    this.#log = new PeerLog(options.log)
    this.defects = options.defects
    this.dials = new Dials(this.peers, {
      isWanted: () => options.isWanted(),
      isUploadOnly: () => this.isUploadOnly,
      grant: () => options.grant(),
      isConnected: (node) => node === this.node || this.#links.has(node),
      linkCount: () => this.#links.size,
      links: options.links,
      addresses: options.addresses,
      dial: (peer, credential) => options.dial(peer, this, credential),
    })
    const [isSeed, nowMs] = [() => this.isUploadOnly, () => performance.now()]
    const piecesHad = () => options.stored.have.count
    this.#holders = new PieceHolders(options.stored.layout.pieceCount)
    const holdersOf = (piece: PieceIndex) => this.#holders.countOf(piece)
    this.#uploads = new Uploads(options, { isSeed, piecesHad, holdersOf, nowMs, random: Math.random })
  }

  get bytesSent(): number {
    return this.#uploads.bytesSent
  }
  get nodes(): NodeId[] {
    return [...new Set([...this.#links.keys(), ...this.#served.keys()])]
  }
  get wantsPeers(): boolean {
    return this.#options.isWanted() && !this.isUploadOnly && this.#links.size < DIALS_MAX
  }

  addPeers(peers: readonly Peer[]): void {
    // A stock client has no token to prove: where one is required it is no peer.
    this.peers.add(peers.filter(({ infoHash }) => infoHash === undefined || !this.needsProof()))
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

  placeOf(link: SourceLink): Place {
    return this.#accepted.placeOf(link, this.#pending.has(link))
  }

  /**
   * A connection whose TLS handshake is finished.
   * @param network that it was accepted from; undefined for one that this node dialled
   */
  attach(link: SourceLink, network?: string): void {
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
    for (const { link } of this.#links.values()) if (!link.isShared) this.dials.again(link)
  }

  /** Closes links to revoked nodes, and links that rest on a withdrawn authority or key. */
  closeRevoked(): void {
    const { trust, admission } = this.#options
    for (const link of this.#all()) {
      // A link whose check fails ends as well, and does not affect the others.
      link.boundary.run(() => {
        if (this.isRevoked(link.claims)) link.close(new PeerRefusedError('revoked'))
        else if (!trust.vouchesFor(link.certificates)) this.#closeWithdrawn(link)
        else if (admission.isWithdrawn(link.proven)) this.#closeWithdrawn(link)
      })
    }
  }

  /** The other side did nothing wrong, and may have a new certificate by now. */
  #closeWithdrawn(link: SwarmLink): void {
    link.close(new PeerOutdatedError('the authority of a certificate, or the key of a token, was withdrawn'))
    if (!this.isUploadOnly) this.dials.again(link)
  }

  piecesOf({ node }: SwarmLink): number {
    return this.#holders.piecesOf(node)
  }

  // --- LinkHost: events ----------------------------------------------------------------------------------------

  onOpen(link: SourceLink, limits: SourceLimits): void {
    this.#pending.delete(link)
    this.dials.ended(link.node)
    const before = this.#links.get(link.node)
    if (before && !this.#isPreferred(link, before.link)) throw new PeerProtocolError('a second connection')
    if (this.isRevoked(link.claims)) throw new PeerRefusedError('revoked or banned')
    before?.link.close(undefined)
    const source = this.#options.download.addSource(link, limits)
    this.#links.set(link.node, { link, source })
    this.#linkOfSource.set(source, link)
    if (link.lane) this.#uploads.add(link.lane)
    this.peers.connected(link.node, Date.now())
  }

  onServing(link: ServedLink, network: string): void {
    this.#served.get(link.node)?.close(undefined)
    this.#accepted.add(link, network)
    this.#served.set(link.node, link)
    this.#uploads.add(link.lane)
  }

  onTold(node: NodeId, pieces: Iterable<PieceIndex>): boolean {
    return this.#holders.note(node, pieces)
  }

  /** It has, or will have, pieces that this node lacks. One that was lost is back. */
  onDownloader(peer: Peer): void {
    if (this.isUploadOnly) return
    if (this.peers.get(peer.node) !== undefined) this.dials.returned(peer.node)
    else if (!this.peers.isHalfFull) this.addPeers([{ ...peer, wire: WIRE_VERSION_LINKS }])
  }

  /**
   * A link between nodes stays before a connection of one swarm. Of two of a kind in the same direction, the newer stays;
   * of two connections that cross, the one dialled by the lower node id.
   */
  #isPreferred(link: SourceLink, before: SourceLink): boolean {
    if (link.isShared !== before.isShared) return link.isShared
    if (link.isShared || link.isDialler === before.isDialler) return true
    return link.isDialler === this.node < link.node
  }

  onAdmitted(link: ServedLink): void {
    this.#options.onAdmitted()
    link.welcome(this.#options.stored.hashes.batches, this.announceable())
  }

  onBatch(_link: SwarmLink, batch: HashBatch): boolean {
    const { hashes } = this.#options.stored
    // Each peer passes the batch on. In a cold swarm, checking every copy cost more than everything else together.
    if (batch.epoch < hashes.epoch || hashes.includes(batch)) return false
    if (!this.#options.trust.isCounted(batch)) return false
    this.#options.onBatch(batch)
    return true
  }

  onOffer(link: SwarmLink, pieces: PieceIndex[] | 'all'): boolean {
    const source = this.#sourceOf(link)
    if (!source) return false
    const offered = pieces === 'all' ? [...allPieces(this.layout)] : pieces
    this.#holders.note(link.node, offered)
    return this.#options.download.offers(source, offered)
  }

  onOfferBits(link: SwarmLink, bits: Buffer): void {
    const field = Bitfield.fromBytes(bits, this.layout.pieceCount)
    const source = this.#sourceOf(link)
    const offered = [...allPieces(this.layout)].filter((piece) => field.has(piece))
    if (!source) return
    this.#holders.note(link.node, offered)
    this.#options.download.offers(source, offered)
  }

  onChoke(link: SwarmLink, isChoked: boolean): boolean {
    const source = this.#sourceOf(link)
    if (!source || source.isUnchoked === !isChoked) return false
    if (isChoked) this.#options.download.choked(source)
    else this.#options.download.unchoked(source)
    return true
  }

  onBlockStart(link: SwarmLink, block: Parameters<Download['blockStarts']>[1]): Uint8Array | undefined {
    const source = this.#sourceOf(link)
    return source && this.#options.download.blockStarts(source, block)
  }

  onBlockEnd(link: SwarmLink, block: Parameters<Download['blockEnds']>[1]): void {
    this.#accepted.received(link)
    const source = this.#sourceOf(link)
    if (source) this.#options.download.blockEnds(source, block)
  }

  onReject(link: SwarmLink, block: Parameters<Download['rejected']>[1]): boolean {
    const source = this.#sourceOf(link)
    return source !== undefined && this.#options.download.rejected(source, block)
  }

  onUploadWanted(): void {
    this.#uploads.send()
  }

  onClosed(link: SwarmLink, reason: ShoalError | undefined): void {
    this.#pending.delete(link as SourceLink)
    // A link may end before it was open; then its peer is dialled again.
    if (link.isDialler || (link as SourceLink).isShared) this.dials.ended(link.node)
    if (link.lane) this.#uploads.remove(link.lane)
    if (this.#served.get(link.node) === link) this.#served.delete(link.node)
    const entry = this.#links.get(link.node)
    if (entry?.link === link) {
      this.#links.delete(link.node)
      this.#options.download.removeSource(entry.source)
      this.dials.left(link.node, reason)
      this.#options.onLost()
    }
    if (!this.#links.has(link.node) && !this.#served.has(link.node)) this.#holders.forget(link.node)
    if (reason) this.#log.tell(link.node, reason, { peer: link.node }, 'peer dropped')
  }

  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    if (this.isWithdrawn) return
    for (const link of this.#open()) link.boundary.run(() => link.announce(batches, pieces))
  }

  /** The grant is new: peers that this node could only serve before can be asked now. */
  proveTokens(): void {
    for (const { link } of this.#links.values()) link.boundary.run(() => link.proveToken())
  }

  /** A piece comes whole from one source, so the sender of a bad one is certain, also after it has disconnected. */
  ban(source: Source, reason: PieceCorruptError): void {
    const link = this.#linkOfSource.get(source)
    if (!link) return
    this.peers.ban(link.node)
    link.close(reason)
    this.#served.get(link.node)?.close(reason)
    this.#options.onBadPeer(this.swarm, link.node)
  }

  /** Whether the peer is in another zone; undefined where the tracker did not say so. */
  isFar(source: Source): boolean | undefined {
    const link = this.#linkOfSource.get(source)
    return link && this.peers.get(link.node)?.isFar
  }

  /** Serves nobody from now on. A download goes on over new links. */
  withdraw(): void {
    this.isWithdrawn = true
    this.close()
  }

  close(): void {
    for (const link of this.#all()) link.close(undefined)
  }

  #open(): SwarmLink[] {
    return [...[...this.#links.values()].map(({ link }) => link), ...this.#served.values()]
  }

  #all(): SwarmLink[] {
    return [...this.#pending, ...this.#open()]
  }

  #sourceOf(link: SwarmLink): Source | undefined {
    const entry = this.#links.get(link.node)
    return entry?.link === link ? entry.source : undefined
  }
}
