import type { Logger } from 'pino'
import { type Boundary, type Defects, isSystemError } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import {
  allPieces,
  type NodeId,
  type PieceIndex,
  type PieceLayout,
  type SwarmId,
} from '../../core/metainfo.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { GrantedSwarm, HashesRequest, HashesResponse, Peer } from '../../core/tracker-api.ts'
import type { BlobKey, BlobProgress, BytesMoved } from '../client.ts'
import { type Assembly, Download } from '../engine/download.ts'
import type { RateLimit } from '../engine/rate-limit.ts'
import {
  BlobDistrustedError,
  BlobUnavailableError,
  ClientClosedError,
  PieceCorruptError,
  StoreWriteError,
} from '../errors.ts'
import type { Admission } from '../membership/admission.ts'
import type { ClusterTrustState, PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import type { TrackerClient } from '../membership/tracker-client.ts'
import { Origin } from '../origin/origin.ts'
import type { OriginHost } from '../origin/origin-host.ts'
import type { PeersReach } from '../origin/origin-plan.ts'
import { RegistryAccess } from '../origin/registry-access.ts'
import type { NodeLinks } from '../peer/node-links.ts'
import type { PeerAddresses } from '../peer/peer-addresses.ts'
import type { SendBuffers } from '../peer/send-buffers.ts'
import { Bitfield } from '../store/bitfield.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { LoopLoad } from '../store/loop-load.ts'
import type { PieceBuffer, PieceBufferShare, PieceBuffers } from '../store/piece-buffers.ts'
import { openPieceStream } from '../store/piece-stream.ts'
import { RecentPieces } from '../store/recent-pieces.ts'
import type { SlowWrites } from '../store/slow-writes.ts'
import type { Verifier } from '../store/verifier.ts'
import { AnnounceablePieces } from './announceable-pieces.ts'
import { Announcements } from './announcements.ts'
import { BatchRenewal } from './batch-renewal.ts'
import { Completion } from './completion.ts'
import { AUDITED_SHARE, DigestCheck } from './digest-check.ts'
import { heldProgress } from './held.ts'
import { PieceIntake } from './piece-intake.ts'
import { ReadCheck } from './read-check.ts'
import type { Stalling, StallLimits } from './reader-patience.ts'
import { type Part, Readers } from './readers.ts'
import { SwarmLinks } from './swarm-links.ts'

/** The parts that all swarms of a node share. */
export interface SwarmParts {
  node: NodeId
  version: string
  trust: ClusterTrustState
  admission: Admission
  tracker: TrackerClient
  /** Share of blobs that are hashed as a whole although two nodes vouch for their hashes; absent: the default. */
  auditedShare: number | undefined
  /** Absent: the defaults. */
  stallLimits: StallLimits | undefined
  buffers: PieceBuffers
  sendBuffers: SendBuffers
  uploadLimit: RateLimit
  downloadLimit: RateLimit
  registryLimit: RateLimit
  verifier: Verifier
  slowWrites: SlowWrites
  loopLoad: LoopLoad
  log: Logger
  defects: Defects
  registry: RegistryClient
  addresses: PeerAddresses
  nodeLinks: NodeLinks
  dial(peer: Peer, host: SwarmLinks, credential: PeerCredential): void
  /** What this node holds of the blob has changed: others should know soon. */
  onHoldings(swarm: Swarm): void
  /** These stored pieces are no longer what was verified. */
  onDamaged(swarm: Swarm, pieces: readonly PieceIndex[]): void
  /** A peer sent a piece that does not match its hash. */
  onBadPeer(swarm: SwarmId, node: NodeId): void
  onFailed(swarm: Swarm, reason: ShoalError): void
  /** The last reader of a withdrawn blob has left. */
  onUnread(swarm: Swarm): void
}

/** How often the swarm checks for stalls, leases and dials. It equals the shortest stall. */
export const TICK_MS = 250
/** The longest stretch of work that a killed node may lose. */
const SAVE_EVERY_MS = 1_000

/**
 * One blob on this node: its stored pieces, its readers, and its connections. Invariants: a piece is in `stored.have`
 * only after it was verified and written; the download runs only while somebody reads.
 */
export class Swarm implements OriginHost {
  readonly links: SwarmLinks
  readonly stored: StoredBlob
  readonly buffers: PieceBufferShare
  /** For readers. */
  readonly recent: RecentPieces
  readonly log: Logger
  readonly access: RegistryAccess
  /** A failure in here fails this blob only: its readers continue with the registry. */
  readonly boundary: Boundary
  grant: Grant | undefined
  /** It was whole, and what readers got of it was right; then it was found damaged. */
  isDamaged = false
  readonly #parts: SwarmParts
  readonly #download: Download
  readonly #origin: Origin
  readonly #digestCheck: DigestCheck
  readonly #pieces: AnnounceablePieces
  readonly #intake: PieceIntake
  readonly #completion: Completion
  readonly #renewal: BatchRenewal
  readonly #readCheck: ReadCheck
  readonly #claimed = new Set<PieceIndex>()
  /** For readers that wait. */
  readonly stalling: Stalling
  /** When bytes of the blob were last verified or hashed. */
  #workedAtMs = Number.NEGATIVE_INFINITY
  readonly #readers: Readers
  #failure: ShoalError | undefined
  /** The download does not run. */
  #isHalted = true
  /** It did, and no piece has arrived since. */
  #hasStalled = false
  #ticker: NodeJS.Timeout | undefined
  #fillTimer: NodeJS.Timeout | undefined
  readonly #fromPeers = { bytesFromPeers: 0, bytesFromNear: 0, bytesFromFar: 0 }
  /** Bytes that readers found here. */
  bytesFromCache = 0
  /** Pieces that came from peers since the start, for the account of readers. */
  readonly fromPeers: Bitfield
  #savedAtMs = 0

  constructor(stored: StoredBlob, parts: SwarmParts) {
    this.stored = stored
    this.fromPeers = new Bitfield(stored.layout.pieceCount)
    this.#readers = new Readers(stored.layout)
    this.#parts = parts
    this.buffers = parts.buffers.share()
    this.recent = new RecentPieces(this.buffers)
    this.log = parts.log.child({ digest: stored.key.digest, swarm: stored.swarm })
    this.boundary = parts.defects.boundary('swarm', (reason) => this.fail(reason))
    const announce = this.boundary.callback((...news: Parameters<SwarmLinks['announce']>) =>
      this.links.announce(...news),
    )
    this.#download = new Download({
      node: parts.node,
      layout: stored.layout,
      have: stored.have,
      buffers: this.buffers,
      stream: (piece) => openPieceStream({ ...parts, stored, buffers: this.buffers }, piece),
      isForThread: () => parts.loopLoad.isForThread(),
      isAskable: (piece) =>
        stored.hashes.has(piece) && !this.#claimed.has(piece) && this.#readers.needs(piece),
      position: () => this.#readers.position,
      onPiece: this.boundary.callback((assembly: Assembly) => this.#takeFromPeer(assembly)),
      nowMs: () => performance.now(),
      random: Math.random,
      limit: {
        waitMs: () => parts.downloadLimit.waitMs(this.#pull()),
        spend: (bytes) => parts.downloadLimit.spend(bytes, this.#pull()),
      },
      wait: (delayMs) => this.#fillLater(delayMs),
    })
    this.links = new SwarmLinks({
      node: parts.node,
      version: parts.version,
      trust: parts.trust,
      admission: parts.admission,
      sendBuffers: parts.sendBuffers,
      uploadLimit: parts.uploadLimit,
      defects: parts.defects,
      addresses: parts.addresses,
      links: parts.nodeLinks,
      dial: parts.dial,
      onBadPeer: parts.onBadPeer,
      onLost: () => this.#origin.plan.peerLost(Date.now()),
      stored,
      download: this.#download,
      log: this.log,
      boundary: this.boundary,
      isWanted: () => this.isWanted,
      grant: () => this.grant,
      onAdmitted: () => this.boundary.run(() => this.#renewal.run()),
      onBatch: (batch) => this.#onBatch(batch),
      announceable: () => this.#pieces.announceable(),
    })
    this.access = new RegistryAccess(stored, parts, () => this.#pull())
    this.#origin = new Origin(this)
    const onWork = () => {
      this.#workedAtMs = performance.now()
    }
    this.#digestCheck = new DigestCheck(parts.verifier, stored, {
      isAudit: Math.random() < (parts.auditedShare ?? AUDITED_SHARE),
      onStep: onWork,
    })
    this.#pieces = new AnnounceablePieces(stored)
    this.#readCheck = new ReadCheck(stored, {
      verifier: parts.verifier,
      hashOf: (piece) => this.#pieces.hashOf(piece),
      onStep: onWork,
    })
    this.stalling = {
      movedAtMs: () => Math.max(this.#workedAtMs, this.access.arrivedAtMs, this.#download.receivedAtMs),
      isPromised: () => this.#origin.plan.isPromised,
      isRegistryLimited: () => this.access.limitedMs > 0,
      limits: parts.stallLimits,
    }
    this.#intake = new PieceIntake({
      stored,
      verifier: parts.verifier,
      digestCheck: this.#digestCheck,
      pieces: this.#pieces,
      announcements: new Announcements(announce),
    })
    this.#completion = new Completion({
      stored,
      pieces: this.#pieces,
      digestCheck: this.#digestCheck,
      access: this.access,
      tracker: parts.tracker,
      verifier: parts.verifier,
      log: this.log,
      boundary: this.boundary,
      host: {
        onMatched: () => this.#onMatched(),
        fail: (reason) => this.fail(reason),
        failWriting: (cause) => this.#failWriting(cause),
        publish: () => this.#origin.publish(),
        servesStockClients: () => !this.links.needsProof(),
        raiseEpoch: (epoch) => this.raiseEpoch(epoch),
        learnBatches: (batches) => this.#learnBatches(batches),
      },
    })
    this.#renewal = new BatchRenewal({
      stored,
      trust: parts.trust,
      tracker: parts.tracker,
      log: this.log,
      learnBatches: (batches) => this.#learnBatches(batches),
      retain: (isSigned) => this.#retainHashes(isSigned),
    })
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
  get epoch(): number {
    return this.stored.hashes.epoch
  }
  /** Somebody reads the blob, so its missing pieces are fetched. */
  get isWanted(): boolean {
    return this.#readers.count > 0
  }

  /** Limits are fair between images, not between layers. */
  #pull(): object {
    return this.grant ?? this
  }

  progress(): BlobProgress {
    return {
      ...heldProgress(this.stored),
      ...this.moved,
      ...(this.#failure ? { state: 'failed' } : this.#isDownloading ? { state: 'downloading' } : {}),
      peers: this.links.nodes.length,
    }
  }

  get moved(): BytesMoved {
    return {
      bytesFromRegistry: this.#origin.bytes,
      ...this.#fromPeers,
      bytesFromCache: this.bytesFromCache,
      bytesToPeers: this.links.bytesSent,
    }
  }

  get #isDownloading(): boolean {
    return this.isWanted && !this.stored.isComplete
  }

  // --- local readers -------------------------------------------------------------------------------------------

  /** A grant, and the request that it answers. With both, this node may download. */
  admitReader(
    grant: Grant,
    granted: GrantedSwarm | undefined,
    request: Parameters<RegistryAccess['admit']>[0],
  ): void {
    this.grant = grant
    this.access.admit(request)
    this.#failure = undefined
    if (!granted) return
    this.raiseEpoch(granted.epoch)
    this.#learnBatches(granted.batches)
    this.links.addPeers(granted.peers)
    this.links.proveTokens()
    if (granted.lease) this.#origin.offer(granted.lease)
    else if (granted.status !== 'cold' && granted.peers.length > 0) this.#origin.heldByPeers()
    this.#download.fillAll()
  }

  /** A reader is about to read; call before its first position. @returns whether it needs no more than the part */
  expectReader(reader: object, part: Part): boolean {
    const isPart = this.#readers.expect(reader, part)
    if (this.isWanted) this.#fillLater(0)
    return isPart
  }

  /** A reader has read its part to the end. */
  hasRead(part: Part): void {
    this.#readers.hasRead(part)
  }

  /** A reader waits for pieces from `piece` on. The first reader starts the download. */
  setPosition(reader: object, piece: number): void {
    const isFirst = this.#readers.move(reader, piece)
    this.recent.dropBefore(this.position())
    if (isFirst) this.stored.touch()
    // Where it stalled, its reader still gets the rest from the registry: this one begins it anew.
    if (!this.#isHalted || this.#failure || this.stored.isComplete) return
    this.#isHalted = false
    this.#download.resume()
    this.#origin.start()
    this.#ticker ??= setInterval(
      this.boundary.callback(() => this.#tick()),
      TICK_MS,
    )
    this.#tick()
    // The node was killed after the last piece and before the blob was matched against its digest.
    if (this.have.isFull) this.boundary.run(() => this.#completion.finish())
  }

  removeReader(reader: object): void {
    if (!this.#readers.remove(reader)) return
    this.recent.clear()
    this.#halt()
    if (!this.stored.isComplete) this.#readCheck.forget()
    if (this.links.isWithdrawn) this.#parts.onUnread(this)
  }

  /**
   * Call before a stored piece is read: it may have changed on the disk. What is wrong is dropped.
   * @param isNextWanted the reader will go on behind it
   * @returns false when it was: wait for the piece again
   * @throws BlobUnavailableError when it was whole, and nothing here may fetch it
   */
  async mayRead(piece: PieceIndex, isNextWanted: boolean): Promise<boolean> {
    if (this.#readCheck.isKnownRight(piece)) return true
    const wasComplete = this.stored.isComplete
    if (await this.#readCheck.isRight(piece, isNextWanted)) return true
    // Another reader may have found it meanwhile.
    if (this.have.has(piece)) this.#parts.onDamaged(this, [piece])
    if (wasComplete) throw new BlobUnavailableError('the stored copy is damaged')
    return false
  }

  /** These pieces were dropped from the store. */
  lost(pieces: readonly PieceIndex[]): void {
    for (const piece of pieces) this.#pieces.dropped(piece)
    this.#digestCheck.abandon()
    this.#readCheck.forget()
    if (this.isWanted) this.#download.fillAll()
  }

  /** Why nothing more comes of it. */
  get failure(): ShoalError | undefined {
    return this.#failure
  }

  /** Resolves when `isDone`. Checked when a piece arrives and when the blob is matched. */
  async until(reader: object, isDone: () => boolean): Promise<void> {
    if (this.#failure && !isDone()) throw this.#failure
    await this.#readers.until(reader, isDone)
  }

  /**
   * Nothing moves, whatever the reason. Readers continue with the registry, and the next one begins the download anew with
   * the stored pieces. If that does not help either, the copy is given up.
   */
  stalled(reason: ShoalError): void {
    if (this.#isHalted) return
    this.log.error({ code: reason.code, ...this.#stallFacts() }, 'the download of a blob stands still')
    if (this.#hasStalled) this.fail(reason)
    this.#hasStalled = true
    this.#halt()
    this.#readers.fail(reason)
  }

  /** What shows where a download stands: the cause is not known when it is logged. */
  #stallFacts(): Record<string, number | boolean | string> {
    const { have, writes, isMatched } = this.stored
    return {
      pieces: have.count,
      of: this.layout.pieceCount,
      isMatched,
      position: this.position(),
      isPromised: this.#origin.plan.isPromised,
      isAlone: this.#origin.plan.isAlone,
      claimed: this.#claimed.size,
      inFlight: this.#download.inFlight.pieces.size,
      verifying: this.#download.verifying.size,
      written: writes.size,
      jobsWaiting: this.#parts.verifier.jobsWaiting,
      peers: this.links.nodes.length,
      peersReach: this.peersReach(),
    }
  }

  fail(reason: ShoalError): void {
    if (this.#failure || this.stored.isComplete) return
    this.#failure = reason
    this.#halt()
    this.#readers.fail(reason)
    this.#parts.onFailed(this, reason)
  }

  /** @param reason the error that readers in the middle of the blob get */
  close(reason: ShoalError = new ClientClosedError('the node is stopping')): void {
    this.#failure ??= reason
    this.#halt()
    this.#stopTicking()
    this.#digestCheck.abandon()
    this.#readers.fail(reason)
    this.recent.clear()
    this.links.close()
  }

  /** Resolves when the hashes of the pieces that this node fetched are published, or the tracker refused them. */
  published(): Promise<void> {
    return this.#origin.publish()
  }

  #halt(): void {
    this.#isHalted = true
    this.#download.pause()
    this.#origin.stop()
    void this.stored.save()
  }

  #tick(): void {
    this.#download.tick()
    // Before the plan looks: a peer that nobody has dialled is not out of reach.
    this.links.dials.connect()
    this.#origin.tick()
    if (Date.now() - this.#savedAtMs > SAVE_EVERY_MS) {
      this.#savedAtMs = Date.now()
      void this.stored.save()
    }
    if (this.isWanted && !this.stored.isComplete) return
    // Pieces fetched under a lease are still published: others wait for their hashes.
    if (this.#origin.isDone) this.#stopTicking()
  }

  #fillLater(delayMs: number): void {
    const fill = () => {
      this.#fillTimer = undefined
      this.#download.fillAll()
    }
    this.#fillTimer ??= setTimeout(this.boundary.callback(fill), delayMs)
    this.#fillTimer.unref()
  }

  #stopTicking(): void {
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }

  /**
   * Peers and registry are silent. Readers continue with the registry on their own; stored pieces stay for the next
   * reader.
   */
  starved(): void {
    this.#readers.fail(new BlobUnavailableError('neither the swarm nor the registry yields a piece'))
  }

  // --- OriginHost ----------------------------------------------------------------------------------------------

  position(): number {
    return this.#readers.position ?? 0
  }

  place(): { at: number; of: number } {
    return this.#download.place()
  }

  isNeeded(piece: PieceIndex): boolean {
    return this.#readers.needs(piece)
  }

  isOutOfReach(piece: PieceIndex): boolean {
    if (!this.isNeeded(piece) || this.#claimed.has(piece) || this.#download.isInFlight(piece)) return false
    return !this.#download.isOffered(piece) || !this.stored.hashes.has(piece)
  }

  firstUnknownHash(): number | undefined {
    return this.stored.hashes.firstUnknown()
  }

  peersIdleMs(): number {
    return this.#download.idleMs()
  }

  peersReach(): PeersReach {
    return this.links.dials.reach
  }

  isTrackerOff(): boolean {
    return this.#parts.tracker.watch.isGone
  }

  claim(piece: PieceIndex): void {
    this.#claimed.add(piece)
    this.#download.giveUp(piece)
  }

  unclaim(piece: PieceIndex): void {
    this.#claimed.delete(piece)
    this.#download.fillAll()
  }

  async storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer> {
    let isKept = false
    try {
      const incoming = { piece, buffer, length }
      const { outcome, hash } = await this.#writing(this.#intake.fromRegistry(incoming))
      if (outcome === 'wrong') this.#failOnWrong(piece, hash)
      if (outcome === 'kept') isKept = this.#onKept(piece, 'registry', buffer)
      return hash
    } finally {
      if (!isKept) this.buffers.release(buffer)
    }
  }

  /** Two nodes vouched for another hash. The tracker finds out who is right. */
  #failOnWrong(piece: PieceIndex, hash: Buffer): never {
    this.boundary.run(() => this.#completion.reportWrong({ piece, hash }))
    const reason = new BlobDistrustedError(
      `the registry has other bytes for piece ${piece} than two nodes vouched for`,
    )
    this.fail(reason)
    throw reason
  }

  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse> {
    return this.#parts.tracker.hashes(this.swarm, { pull: this.grant!.pull, ...request })
  }

  learn(answer: HashesResponse): void {
    this.raiseEpoch(answer.epoch)
    this.#learnBatches(answer.batches)
    this.links.addPeers(answer.peers)
    this.#download.fillAll()
  }

  // --- pieces --------------------------------------------------------------------------------------------------

  async #takeFromPeer(assembly: Assembly): Promise<void> {
    const { piece, length, source, copy } = assembly
    // Its link may have ended when the piece is written.
    const isFar = this.links.isFar(source)
    let isKept = false
    try {
      const taking = copy.stream
        ? this.#intake.fromStream(copy.stream)
        : this.#intake.fromPeer({ piece, length, buffer: copy.buffer })
      const outcome = await this.#writing(taking).catch(() => 'unwritten' as const)
      if (outcome === 'wrong')
        this.links.ban(source, new PieceCorruptError(`piece ${piece} does not match its hash`))
      if (outcome === 'kept' || outcome === 'known') this.#countFromPeer(length, isFar)
      if (outcome === 'kept') {
        this.fromPeers.add(piece)
        isKept = this.#onKept(piece, 'peer', copy.buffer)
      }
    } finally {
      this.#download.settle(assembly, { isKept })
    }
  }

  #countFromPeer(bytes: number, isFar: boolean | undefined): void {
    this.#fromPeers.bytesFromPeers += bytes
    if (isFar === false) this.#fromPeers.bytesFromNear += bytes
    if (isFar === true) this.#fromPeers.bytesFromFar += bytes
  }

  /** A full or broken disk ends the download here; its readers continue with the registry. */
  #writing<Result>(piece: Promise<Result>): Promise<Result> {
    return piece.catch((cause: unknown) => {
      this.#failWriting(cause)
      throw cause
    })
  }

  #failWriting(cause: unknown): void {
    if (isSystemError(cause)) this.fail(new StoreWriteError('a piece could not be written', { cause }))
    else this.boundary.fail(cause)
  }

  /** @returns whether the buffer stays with the readers */
  #onKept(piece: PieceIndex, from: 'registry' | 'peer', buffer: PieceBuffer | undefined): boolean {
    this.#readCheck.arrived(piece)
    this.#hasStalled = false
    const isKept = buffer !== undefined && this.recent.keep(piece, buffer, this.#readers.position)
    this.#origin.moved(from)
    this.#download.giveUp(piece)
    this.#readers.wake()
    if (this.have.isFull) this.boundary.run(() => this.#completion.finish())
    return isKept
  }

  /** The blob is here whole, of a push, with these hashes of its pieces. Call before anything is known of the swarm. */
  took(hashes: readonly Buffer[]): void {
    for (const piece of allPieces(this.layout)) this.#pieces.add(piece, hashes[piece]!)
  }

  /** Makes a pushed blob known: publishes the hashes that nobody has published, and reports the match. */
  async seed(hashes: readonly Buffer[]): Promise<void> {
    await this.#origin.publishWhole(hashes)
    await this.#completion.report('whole')
    this.log.info({ bytes: this.layout.blobBytes }, 'pushed blob shared')
    this.#parts.onHoldings(this)
  }

  /** @throws as `Completion.recheck` */
  recheck(): Promise<void> {
    return this.#completion.recheck()
  }

  #onMatched(): void {
    this.#readCheck.completed()
    this.#halt()
    this.#readers.wake()
    const { bytes, bytesFromRegistry, bytesFromPeers } = this.progress()
    this.log.info({ bytes, bytesFromRegistry, bytesFromPeers }, 'blob complete')
    this.#parts.onHoldings(this)
  }

  /** SHA-1 of every piece of the whole blob, for stock clients. */
  piecesSha1(): Promise<Buffer> {
    return this.#completion.piecesSha1()
  }

  // --- hashes and announcements --------------------------------------------------------------------------------

  raiseEpoch(epoch: number): void {
    // This copy may have been accepted on the wrong hash.
    if (epoch > this.epoch) this.#completion.recheck().catch(() => undefined)
    if (!this.#pieces.raiseEpoch(epoch)) return
    this.recent.clear()
    this.#digestCheck.abandon()
  }

  /** The tracker signs with another key: has the batches that peers receive signed again, if there are any. */
  async renewBatches(): Promise<void> {
    if (this.isWanted || this.links.nodes.length > 0) await this.#renewal.run()
  }

  #retainHashes(isSigned: (batch: HashBatch) => boolean): void {
    if (!this.#pieces.retain(isSigned)) return
    this.recent.clear()
    // This copy may have been accepted on the dropped hashes.
    this.recheck().catch(() => undefined)
    if (!this.stored.isMatched) this.#digestCheck.abandon()
    this.#download.fillAll()
  }

  #onBatch(batch: HashBatch): void {
    if (batch.epoch < this.epoch) return
    this.raiseEpoch(batch.epoch)
    if (this.#intake.learn(batch)) this.#download.fillAll()
  }

  /** Call only with batches whose signature was checked. */
  #learnBatches(batches: readonly HashBatch[]): void {
    for (const batch of batches) this.#intake.learn(batch)
  }
}
