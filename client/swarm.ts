import type { Logger } from 'pino'
import type { CertificateClaims, PullClaims } from '../core/certificate-claims.ts'
import { ShoalError } from '../core/errors.ts'
import { batchPieceCount, type HashBatch } from '../core/hash-batch.ts'
import type { NodeId, PieceIndex, PieceLayout, SwarmId } from '../core/metainfo.ts'
import type { RegistryClient } from '../core/registry-client.ts'
import type { TokenProver } from '../core/token-proof/index.ts'
import type { Credential, GrantedSwarm, HashesRequest, HashesResponse, Peer } from '../core/tracker-api.ts'
import type { BlobKey, BlobProgress } from './client.ts'
import { Bitfield } from './engine/bitfield.ts'
import { type Assembly, Download, type Source, type SourceLimits } from './engine/download.ts'
import { UploadQueue } from './engine/upload-queue.ts'
import { BlobDistrustedError, ClientClosedError, PeerProtocolError, PieceCorruptError } from './errors.ts'
import { KnownPeers } from './known-peers.ts'
import type { Admission } from './net/admission.ts'
import type { ClusterTrustState, PeerCredential } from './net/cluster-trust.ts'
import type { Grant } from './net/grants.ts'
import type { LinkHost, PeerLink } from './net/peer-link.ts'
import { readRange } from './net/registry-range.ts'
import type { SendBuffers } from './net/send-buffers.ts'
import type { TrackerClient } from './net/tracker-client.ts'
import { Origin, type OriginHost } from './origin.ts'
import type { StoredBlob } from './store/blob-store.ts'
import type { PieceBuffer, PieceBuffers } from './store/piece-buffers.ts'
import type { Verifier } from './store/verifier.ts'
import { WholeCheck } from './whole-check.ts'

/** What every swarm of a node shares. */
export interface SwarmParts {
  node: NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  tracker: TrackerClient
  buffers: PieceBuffers
  sendBuffers: SendBuffers
  verifier: Verifier
  log: Logger
  registry: RegistryClient
  dial(peer: Peer, swarm: Swarm, credential: PeerCredential): void
  onComplete(swarm: Swarm): void
  onFailed(swarm: Swarm, reason: ShoalError): void
}

/** Connections that a downloading node opens for one swarm, and accepts for it. */
export const DIALS_MAX = 12
export const LINKS_MAX = 40
const TICK_MS = 250

/**
 * One blob on this node: what is stored of it, who is connected for it, and what goes which way. Invariants: a piece
 * is in `stored.have` only after it was verified and written; a link is in `links` only once both handshakes are
 * through, one per peer; downloading goes on only while someone reads.
 */
export class Swarm implements LinkHost, OriginHost {
  readonly stored: StoredBlob
  readonly buffers: PieceBuffers
  readonly log: Logger
  grant: Grant | undefined
  private readonly parts: SwarmParts
  private readonly links = new Map<NodeId, { link: PeerLink; source: Source }>()
  private readonly pending = new Set<PeerLink>()
  private readonly dialling = new Set<NodeId>()
  private readonly peers = new KnownPeers()
  private readonly download: Download
  private readonly uploads: UploadQueue
  private readonly origin: Origin
  private readonly whole: WholeCheck
  private readonly claimed = new Set<PieceIndex>()
  private readonly positions = new Map<object, number>()
  private readonly waiters = new Set<{ isDone(): boolean; resolve(): void; reject(error: Error): void }>()
  private unannounced: { pieces: PieceIndex[]; batches: HashBatch[] } | undefined
  private credential: Credential = { scheme: 'none' }
  private failure: ShoalError | undefined
  private ticker: NodeJS.Timeout | undefined
  private bytesFromPeers = 0
  private isFinishing = false

  constructor(stored: StoredBlob, parts: SwarmParts) {
    this.stored = stored
    this.parts = parts
    this.buffers = parts.buffers
    this.log = parts.log.child({ digest: stored.key.digest, swarm: stored.swarm })
    this.uploads = new UploadQueue(stored.layout.pieceCount)
    this.download = new Download({
      layout: stored.layout,
      have: stored.have,
      buffers: parts.buffers,
      isAskable: (piece) => stored.hashes.has(piece) && !this.claimed.has(piece),
      position: () => (this.positions.size === 0 ? undefined : this.position()),
      onPiece: (assembly) => void this.verify(assembly),
      nowMs: () => performance.now(),
      random: Math.random,
    })
    this.origin = new Origin(this)
    this.whole = new WholeCheck(parts.verifier, stored)
  }

  get swarm(): SwarmId {
    return this.stored.swarm
  }
  get blob(): BlobKey {
    return this.stored.key
  }
  get layout(): PieceLayout {
    return this.stored.layout
  }
  get have(): Bitfield {
    return this.stored.have
  }
  get node(): NodeId {
    return this.parts.node
  }
  get version(): string {
    return this.parts.version
  }
  get epoch(): number {
    return this.stored.hashes.epoch
  }
  get isUploadOnly(): boolean {
    return this.stored.isComplete
  }
  /** Someone reads the blob, so what is missing of it is fetched. */
  get isWanted(): boolean {
    return this.positions.size > 0
  }
  /** Peers may be told of it: something is here, or soon will be. */
  get isIdle(): boolean {
    return this.positions.size === 0 && this.links.size === 0
  }

  progress(): BlobProgress {
    return {
      ...this.blob,
      repository: this.stored.repository,
      bytes: this.layout.blobBytes,
      bytesFromRegistry: this.origin.bytes,
      bytesFromPeers: this.bytesFromPeers,
      state: this.failure ? 'failed' : this.stored.isComplete ? 'complete' : 'downloading',
      peers: this.links.size,
    }
  }

  // --- local readers -------------------------------------------------------------------------------------------

  /** A grant, and the credential of the request that it answers: with both this node may download. */
  admitReader(grant: Grant, granted: GrantedSwarm | undefined, credential: Credential): void {
    this.grant = grant
    this.credential = credential
    this.failure = undefined
    if (!granted) return
    this.raiseEpoch(granted.epoch)
    for (const batch of granted.batches) this.learnBatch(batch)
    this.peers.add(granted.peers)
    for (const { link } of this.links.values()) link.proveToken()
  }

  /** A reader waits for what comes from `piece` on; the first one starts the download. */
  setPosition(reader: object, piece: number, lease: GrantedSwarm['lease'] = null): void {
    const isFirst = this.positions.size === 0
    this.positions.set(reader, piece)
    this.stored.touch()
    if (!isFirst || this.stored.isComplete) return
    this.download.resume()
    this.origin.start(lease)
    this.ticker ??= setInterval(() => this.tick(), TICK_MS)
    this.tick()
  }

  removeReader(reader: object): void {
    if (!this.positions.delete(reader) || this.positions.size > 0) return
    this.halt()
  }

  /** Resolves when `isDone`; checked whenever a piece comes in and when the blob is matched. */
  async until(isDone: () => boolean): Promise<void> {
    if (isDone()) return
    if (this.failure) throw this.failure
    await new Promise<void>((resolve, reject) => this.waiters.add({ isDone, resolve, reject }))
  }

  fail(reason: ShoalError): void {
    if (this.failure || this.stored.isComplete) return
    this.failure = reason
    this.halt()
    for (const waiter of this.waiters) waiter.reject(reason)
    this.waiters.clear()
    this.parts.onFailed(this, reason)
  }

  close(): void {
    this.halt()
    for (const waiter of this.waiters) waiter.reject(new ClientClosedError('the node is stopping'))
    this.waiters.clear()
    for (const link of [...this.pending, ...[...this.links.values()].map(({ link }) => link)])
      link.close(undefined)
  }

  private halt(): void {
    clearInterval(this.ticker)
    this.ticker = undefined
    this.download.pause()
    this.origin.stop()
    this.stored.save()
  }

  private tick(): void {
    this.download.tick()
    this.origin.tick()
    this.connect()
    this.stored.save()
  }

  // --- peers ---------------------------------------------------------------------------------------------------

  addPeers(peers: readonly Peer[]): void {
    this.peers.add(peers)
    if (this.isWanted) this.connect()
  }

  get wantsPeers(): boolean {
    return this.isWanted && !this.stored.isComplete && this.links.size < DIALS_MAX
  }

  /** A connection, dialled or accepted, whose TLS handshake is through. */
  attach(link: PeerLink): void {
    this.pending.add(link)
  }

  dialEnded(node: NodeId): void {
    this.dialling.delete(node)
  }

  get isFullOfLinks(): boolean {
    return this.links.size + this.pending.size >= LINKS_MAX
  }

  /** Closes links to whoever has been revoked. */
  closeRevoked(): void {
    for (const { link } of this.links.values()) {
      if (this.isRevoked(link.claims)) link.close(new PeerProtocolError('revoked'))
    }
  }

  private connect(): void {
    const { grant } = this
    if (!grant || this.stored.isComplete || !this.isWanted) return
    const isConnected = (node: NodeId) =>
      node === this.node || this.links.has(node) || this.dialling.has(node)
    const room = DIALS_MAX - this.links.size - this.dialling.size
    for (const peer of this.peers.due(Date.now(), room, isConnected)) {
      this.peers.postpone(peer.node, Date.now())
      this.dialling.add(peer.node)
      this.parts.dial(peer, this, grant.credential)
    }
  }

  // --- LinkHost: rules -----------------------------------------------------------------------------------------

  isRevoked(claims: CertificateClaims): boolean {
    return this.parts.trust.isRevoked(claims) || this.peers.isBanned(claims.node)
  }

  prover(): TokenProver | undefined {
    return this.stored.isComplete ? undefined : this.grant?.prover
  }

  needsProof(): boolean {
    return this.parts.admission.needsProof(this.blob)
  }

  checkCertificate(claims: CertificateClaims): PullClaims {
    return this.parts.admission.checkCertificate(claims, this.blob)
  }

  checkProof(...proof: Parameters<Admission['checkProof']>): void {
    this.parts.admission.checkProof(...proof)
  }

  hasPiece(piece: PieceIndex): boolean {
    return this.have.has(piece)
  }

  // --- LinkHost: events ----------------------------------------------------------------------------------------

  onOpen(link: PeerLink, limits: SourceLimits): void {
    this.pending.delete(link)
    this.dialling.delete(link.node)
    const before = this.links.get(link.node)
    if (before && !this.isPreferred(link, before.link)) throw new PeerProtocolError('a second connection')
    if (this.isRevoked(link.claims)) throw new PeerProtocolError('banned or revoked')
    before?.link.close(undefined)
    this.links.set(link.node, { link, source: this.download.addSource(link, limits) })
    this.uploads.add(link)
    this.peers.connected(link.node)
  }

  /** Of two connections that cross, the one dialled by the lower node id stays; of two in a row, the newer. */
  private isPreferred(link: PeerLink, before: PeerLink): boolean {
    if (link.isDialler === before.isDialler) return true
    return link.isDialler === this.node < link.node
  }

  onAdmitted(link: PeerLink): void {
    this.flushAnnouncements()
    link.welcome(this.stored.hashes.batches, this.announceable())
  }

  onBatch(link: PeerLink, batch: HashBatch): void {
    if (!this.parts.trust.isSigned(batch))
      throw new PeerProtocolError('a hash batch that the tracker did not sign')
    if (batch.epoch < this.epoch) return
    this.raiseEpoch(batch.epoch)
    if (this.learnBatch(batch)) this.download.fillAll()
    void link
  }

  onOffer(link: PeerLink, pieces: PieceIndex[] | 'all'): void {
    const source = this.sourceOf(link)
    if (source) this.download.offers(source, pieces === 'all' ? allPieces(this.layout) : pieces)
  }

  onOfferBits(link: PeerLink, bits: Buffer): void {
    const field = Bitfield.fromBytes(bits, this.layout.pieceCount)
    const source = this.sourceOf(link)
    if (source)
      this.download.offers(
        source,
        [...allPieces(this.layout)].filter((piece) => field.has(piece)),
      )
  }

  onChoke(link: PeerLink, isChoked: boolean): void {
    const source = this.sourceOf(link)
    if (!source) return
    if (isChoked) this.download.choked(source)
    else this.download.unchoked(source)
  }

  onBlockStart(link: PeerLink, block: Parameters<Download['blockStarts']>[1]): Uint8Array | undefined {
    const source = this.sourceOf(link)
    return source && this.download.blockStarts(source, block)
  }

  onBlockEnd(link: PeerLink, block: Parameters<Download['blockEnds']>[1]): void {
    const source = this.sourceOf(link)
    if (source) this.download.blockEnds(source, block)
  }

  onReject(link: PeerLink, block: Parameters<Download['rejected']>[1]): void {
    const source = this.sourceOf(link)
    if (source) this.download.rejected(source, block)
  }

  onUploadWanted(): void {
    for (let next = this.uploads.peek(); next; next = this.uploads.peek()) {
      const link = next.lane as PeerLink
      if (!link.serve(next.block, this.stored.fd, this.parts.sendBuffers)) {
        this.parts.sendBuffers.whenFree(() => this.onUploadWanted())
        return
      }
      this.uploads.taken(next)
    }
  }

  onClosed(link: PeerLink, reason: ShoalError | undefined): void {
    this.pending.delete(link)
    this.uploads.remove(link)
    const entry = this.links.get(link.node)
    if (entry?.link === link) {
      this.links.delete(link.node)
      this.download.removeSource(entry.source)
      this.peers.postpone(link.node, Date.now())
    }
    if (reason instanceof PieceCorruptError || reason?.code === 'PEER_PROTOCOL') {
      this.log.info({ peer: link.node, code: reason.code, err: reason }, 'peer dropped')
    } else if (reason) {
      this.log.warn({ peer: link.node, code: reason.code, err: reason }, 'peer refused')
    }
  }

  private sourceOf(link: PeerLink): Source | undefined {
    const entry = this.links.get(link.node)
    return entry?.link === link ? entry.source : undefined
  }

  // --- OriginHost ----------------------------------------------------------------------------------------------

  position(): number {
    return Math.min(this.layout.pieceCount, ...this.positions.values())
  }

  isOutOfReach(piece: PieceIndex): boolean {
    if (this.download.isUnderWay(piece)) return false
    return !this.download.isOffered(piece) || !this.stored.hashes.has(piece)
  }

  firstUnknownHash(): number | undefined {
    for (const piece of allPieces(this.layout)) if (!this.stored.hashes.has(piece)) return piece
    return undefined
  }

  claim(piece: PieceIndex): void {
    this.claimed.add(piece)
    this.download.giveUp(piece)
  }

  unclaim(piece: PieceIndex): void {
    this.claimed.delete(piece)
    this.download.fillAll()
  }

  readRange(from: number, to: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { registry } = this.parts
    const { repository, key } = this.stored
    return readRange({
      registry,
      repository,
      digest: key.digest,
      credential: this.credential,
      from,
      to,
      signal,
    })
  }

  async storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer> {
    const hash = await this.write(piece, buffer, length, undefined)
    if (this.have.has(piece)) return Buffer.from(hash, 'hex')
    this.origin.moved('registry')
    this.keep(piece)
    return Buffer.from(hash, 'hex')
  }

  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse> {
    return this.parts.tracker.hashes(this.swarm, { pull: this.grant!.pull, ...request })
  }

  learn(answer: HashesResponse): void {
    this.raiseEpoch(answer.epoch)
    for (const batch of answer.batches) this.learnBatch(batch)
    this.addPeers(answer.peers)
    this.download.fillAll()
  }

  // --- pieces --------------------------------------------------------------------------------------------------

  private async verify(assembly: Assembly): Promise<void> {
    const { piece, buffer, length } = assembly
    const expected = this.stored.hashes.get(piece)?.toString('hex')
    try {
      // The epoch may have risen while the piece was on its way: then it is simply asked for again.
      if (expected === undefined) return
      const actual = await this.write(piece, buffer, length, expected)
      if (actual !== expected) return this.punish(assembly)
      this.bytesFromPeers += length
      this.origin.moved('peer')
      this.keep(piece)
    } catch (cause) {
      this.failWriting(cause)
    } finally {
      this.download.settle(assembly)
    }
  }

  private write(
    piece: PieceIndex,
    buffer: PieceBuffer,
    length: number,
    expected: string | undefined,
  ): Promise<string> {
    return this.parts.verifier.piece(buffer, {
      length,
      fd: this.stored.fd,
      position: piece * this.layout.pieceBytes,
      expected,
      whole: this.whole.handle,
    })
  }

  /** Pieces come whole from one source, so there is no doubt who sent the bad one. */
  private punish({ piece, source }: Assembly): void {
    for (const { link, source: candidate } of this.links.values()) {
      if (candidate !== source) continue
      this.peers.ban(link.node)
      link.close(new PieceCorruptError(`piece ${piece} does not match its hash`))
    }
  }

  private failWriting(cause: unknown): void {
    if (cause instanceof ShoalError) this.fail(cause)
    else this.fail(new ClientClosedError('a piece could not be written', { cause }))
  }

  private keep(piece: PieceIndex): void {
    this.have.add(piece)
    this.stored.markDirty()
    this.download.giveUp(piece)
    if (this.stored.hashes.has(piece)) this.announceSoon([piece], [])
    this.whole.advance()
    this.wakeReaders()
    if (this.have.isFull) void this.finish()
  }

  private wakeReaders(): void {
    for (const waiter of this.waiters) {
      if (!waiter.isDone()) continue
      this.waiters.delete(waiter)
      waiter.resolve()
    }
  }

  /** All pieces are here: match the whole, unless two other nodes' matches make these hashes enough. */
  private async finish(): Promise<void> {
    if (this.isFinishing || this.stored.isMatched) return
    this.isFinishing = true
    try {
      const isConfirmed = this.stored.hashes.isConfirmed
      if (!isConfirmed && !(await this.whole.isMatched())) {
        this.fail(new BlobDistrustedError('the pieces do not add up to the digest'))
        return
      }
      this.stored.isMatched = true
      this.stored.markDirty()
      this.halt()
      this.wakeReaders()
      this.log.info(this.progress(), 'blob complete')
      this.parts.onComplete(this)
      await this.report(isConfirmed ? 'pieces' : 'whole')
    } catch (cause) {
      this.failWriting(cause)
    } finally {
      this.isFinishing = false
    }
  }

  /** Tells the tracker. Without hashes of every piece (it was not there to sign them) there is nothing to confirm. */
  private async report(matched: 'whole' | 'pieces'): Promise<void> {
    if (!this.stored.hashes.isComplete) return
    try {
      const answer = await this.parts.tracker.complete(this.swarm, {
        epoch: this.epoch,
        matched,
        piecesSha1: null,
      })
      for (const batch of answer.batches) this.learnBatch(batch)
      this.stored.save()
    } catch (error) {
      this.log.debug({ err: error }, 'the tracker did not take the completion')
    }
  }

  // --- hashes and announcements --------------------------------------------------------------------------------

  raiseEpoch(epoch: number): void {
    if (!this.stored.hashes.raiseEpoch(epoch) || this.stored.isMatched) return
    // What was verified under claims of an older epoch may be what was lied about.
    for (const piece of allPieces(this.layout)) this.have.delete(piece)
    this.whole.restart()
    this.stored.markDirty()
  }

  /** @returns true when the batch said something new. Only for batches whose signature is known to be good. */
  private learnBatch(batch: HashBatch): boolean {
    if (!this.stored.hashes.add(batch)) return false
    this.stored.markDirty()
    const pieces = Array.from(
      { length: batchPieceCount(batch) },
      (_, at) => (batch.firstPiece + at) as PieceIndex,
    )
    this.announceSoon(
      pieces.filter((piece) => this.have.has(piece)),
      [batch],
    )
    return true
  }

  /** Announcements of one turn go out together. */
  private announceSoon(pieces: PieceIndex[], batches: HashBatch[]): void {
    if (!this.unannounced) {
      this.unannounced = { pieces: [], batches: [] }
      setImmediate(() => this.flushAnnouncements())
    }
    this.unannounced.pieces.push(...pieces)
    this.unannounced.batches.push(...batches)
  }

  private flushAnnouncements(): void {
    const due = this.unannounced
    this.unannounced = undefined
    if (!due) return
    for (const { link } of this.links.values()) link.announce(due.batches, due.pieces)
  }

  private announceable(): Bitfield {
    const field = new Bitfield(this.layout.pieceCount)
    for (const piece of allPieces(this.layout)) {
      if (this.have.has(piece) && this.stored.hashes.has(piece)) field.add(piece)
    }
    return field
  }
}

function* allPieces(layout: PieceLayout): Generator<PieceIndex> {
  for (let piece = 0; piece < layout.pieceCount; piece++) yield piece as PieceIndex
}
