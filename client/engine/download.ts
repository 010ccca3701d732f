import { type NodeId, type PieceIndex, type PieceLayout, pieceBytesAt } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'
import type { Bitfield } from '../store/bitfield.ts'
import { UNIT_BYTES } from '../store/blob-cipher.ts'
import type { PieceBufferShare } from '../store/piece-buffers.ts'
import type { StreamedPiece } from '../store/piece-stream.ts'
import { BLOCK_BYTES_FOREIGN, type BlockAddress } from '../wire/messages.ts'
import { othersToLetOff, pickDuplicate } from './end-game.ts'
import { InFlight } from './in-flight.ts'
import { Pace } from './pace.ts'
import { nearestPiece, type PickView, pickPiece } from './picker.ts'
import type { RateLimit } from './rate-limit.ts'
import {
  type Assembly,
  hasBegun,
  isComingAllTheSame,
  newSource,
  openAssembly,
  type PieceCopy,
  type Source,
  type SourceLimits,
  type SourcePort,
} from './source.ts'
import { Sources } from './sources.ts'
import { dueSince, SNUBBED_MS, Stalls } from './stalls.ts'

export type { Assembly, PieceCopy, Source, SourceLimits, SourcePort } from './source.ts'

export interface DownloadOptions {
  /** This node. */
  node: NodeId
  layout: PieceLayout
  have: Bitfield
  buffers: Pick<PieceBufferShare, 'acquire' | 'release'>
  /**
   * Opens a piece that goes to the file as it arrives; undefined when another copy of it is being written, or enough is
   * on its way.
   */
  stream(piece: PieceIndex): StreamedPiece | undefined
  /** Pieces are to be kept in memory for now, whatever `stream` could do: another thread writes them. */
  isForThread(): boolean
  /**
   * False for pieces that must not be requested from peers: no hash yet, or this node fetches them from the registry.
   */
  isAskable(piece: PieceIndex): boolean
  /** First piece that a reader waits for; undefined when nobody reads in order. */
  position(): number | undefined
  /** The piece is complete: verify it, then call `settle`. */
  onPiece(assembly: Assembly): void
  nowMs(): number
  random(): number
  /** Limit of incoming bytes. */
  limit: Pick<RateLimit, 'waitMs' | 'spend'>
  /** Calls `fillAll` after `delayMs`, once, however often it is called meanwhile. */
  wait(delayMs: number): void
}

/** Unrequested bytes accepted from one peer before it is banned: a window of blocks may cross a cancel. */
const UNASKED_BYTES_MAX = 8 * 1024 * 1024
/** New requests go out when less than this share of the window is outstanding. */
const REFILL_BELOW_SHARE = 3 / 4

/**
 * Decides which blocks to request from which peer. No sockets, no clock of its own. Invariants: a piece is in flight
 * from one source, in the end game from two, and from up to six when nothing arrives; at most one of them writes it as it
 * arrives; each buffer or stream belongs to exactly one assembly and is released when that is settled or abandoned; no
 * request goes out while `isPaused`.
 */
export class Download {
  isPaused = true
  /** When a block last arrived; on the clock of `nowMs`. */
  receivedAtMs = Number.NEGATIVE_INFINITY
  readonly #options: DownloadOptions
  readonly sources: Sources
  readonly inFlight: InFlight
  readonly verifying = new Set<PieceIndex>()
  /**
   * Counts the events after which a piece or a source may have become available. A search is repeated only after such
   * an event: a vain search through all pieces of all sources on each block would dominate the cost of a large swarm.
   */
  #changes = 0
  /** Value of `#changes` when every available piece was in flight; -1 when that may not hold. */
  #endGameAt = -1
  /** The piece that was still waiting at the last check for the end game. */
  #waitingPiece = 0 as PieceIndex
  readonly pace: Pace
  readonly stalls: Stalls
  /**
   * Pieces whose requests to other sources were cancelled because one source began. Once per piece: otherwise a few
   * sources could keep a piece from the one that would deliver it.
   */
  readonly #letOff = new Set<PieceIndex>()

  constructor(options: DownloadOptions) {
    this.#options = options
    this.sources = new Sources(options.layout.pieceCount)
    this.pace = new Pace(options.nowMs())
    this.inFlight = new InFlight(this.pace)
    this.stalls = new Stalls(this.sources, this.pace)
  }

  addSource(port: SourcePort, limits: SourceLimits): Source {
    const { pieceCount } = this.#options.layout
    const source = newSource(port, limits, { pieceCount, nowMs: this.#options.nowMs() })
    this.sources.add(source)
    return source
  }

  removeSource(source: Source): void {
    if (!this.sources.remove(source)) return
    source.isUnchoked = false
    for (const assembly of [...source.assemblies]) this.#abandon(assembly, false)
    this.fillAll()
  }

  /** @returns false when all of them were offered before */
  offers(source: Source, pieces: Iterable<PieceIndex>): boolean {
    const nowMs = this.#options.nowMs()
    let isNews = false
    let isUseful = false
    let isLetOff = false
    for (const piece of pieces) {
      if (!this.sources.offer(source, piece, nowMs)) continue
      isNews = true
      if (this.#isToBeAsked(piece)) {
        isUseful = true
        if (this.sources.availability[piece] === 1) this.stalls.moved(nowMs)
      }
      isLetOff = this.#letSeedOff(piece, source) || isLetOff
    }
    if (isUseful) {
      source.exhaustedAt = -1
      this.#endGameAt = -1
    }
    // The source has become a seed. Seeds are no longer spared on its account.
    if (isNews && source.offered.isFull) this.#changes += 1
    if (isLetOff) this.#refill()
    else if (isUseful) this.#fill(source)
    return isNews
  }

  /** Cancels the piece at a seed that has sent nothing of it yet: another downloader has it now. */
  #letSeedOff(piece: PieceIndex, other: Source): boolean {
    if (!other.isUnchoked || other.isSnubbed || other.offered.isFull) return false
    const isWaiting = (assembly: Assembly) => assembly.source.offered.isFull && !hasBegun(assembly)
    const waiting = this.inFlight.of(piece).find(isWaiting)
    if (!waiting || !this.sources.areSeedsFew()) return false
    this.#abandon(waiting, true)
    return true
  }

  unchoked(source: Source): void {
    source.isUnchoked = true
    // Pieces that only this source has are within reach now. If it is a seed, the others need not be spared any more.
    this.#changes += 1
    this.#fill(source)
  }

  /** BEP 6: a choking peer may answer queued requests with reject. They are given up at once. */
  choked(source: Source): void {
    source.isUnchoked = false
    for (const assembly of [...source.assemblies]) this.#abandon(assembly, false)
    this.fillAll()
  }

  /**
   * @returns where the block goes; undefined for a cancelled block that is not accepted
   * @throws PeerProtocolError when blocks arrive that were never requested
   */
  blockStarts(source: Source, block: BlockAddress): Uint8Array | undefined {
    source.arriving = undefined
    this.#takeBack(source, block)
    if (source.cancelled.take(block)) {
      // A link that still carries cancelled blocks is not idle, and its rate counts. Otherwise the rate would be
      // unknown when all requests are cancelled before they arrive.
      this.#received(block.length)
      return undefined
    }
    const assembly = source.assemblies.find(
      ({ piece, outstanding }) => piece === block.piece && outstanding.get(block.begin) === block.length,
    )
    if (assembly) {
      source.arriving = { assembly, begin: block.begin, sinceMs: this.#options.nowMs() }
      const { buffer } = assembly.copy
      if (buffer) return buffer.bytes.subarray(block.begin, block.begin + block.length)
      source.block ??= source.port.block ?? Buffer.allocUnsafeSlow(UNIT_BYTES)
      return source.block.subarray(0, block.length)
    }
    // A small block costs as much to receive.
    source.unaskedBytes += Math.max(block.length, BLOCK_BYTES_FOREIGN)
    if (source.unaskedBytes > UNASKED_BYTES_MAX) throw new PeerProtocolError('too many unrequested blocks')
    return undefined
  }

  /**
   * Accepts a piece that arrives after its cancellation, while it is still missing and no other source has begun to
   * send it. It was in the other side's socket already; dropped, it would use this link twice (1,000 nodes in
   * simulation that arrive one after the other: 7.5 of 128 MiB wasted per node, 2.3 with this). Cost: a source that
   * sends one block and stops can delay a piece for one stall, once.
   */
  #takeBack(source: Source, block: BlockAddress): void {
    const piece = block.piece as PieceIndex
    const length = pieceBytesAt(this.#options.layout, piece)
    if (!isComingAllTheSame(source, block, length)) return
    const isMissing = !this.#options.have.has(piece) && !this.verifying.has(piece)
    if (this.isPaused || !source.isUnchoked || !isMissing || !this.#options.isAskable(piece)) return
    const others = this.inFlight.of(piece)
    if (others.some((other) => other.source === source || hasBegun(other) || !other.source.limits.hasFast))
      return
    if (others.length > 0 ? this.#letOff.has(piece) : this.pace.isFull) return
    const assembly = this.#open(source, piece)
    if (!assembly) return
    assembly.isTakenBack = true
    while (assembly.requestedBytes < length) {
      source.cancelled.take({ piece, begin: assembly.requestedBytes })
      this.inFlight.asked(assembly, Math.min(source.limits.blockBytes, length - assembly.requestedBytes))
    }
  }

  blockEnds(source: Source, block: BlockAddress): void {
    const assembly = source.arriving?.assembly
    source.arriving = undefined
    if (!assembly || !this.inFlight.answered(assembly, block.begin)) return
    assembly.copy.stream?.write(block.begin, source.block!.subarray(0, block.length))
    const isLetOff = assembly.receivedBytes === 0 && this.#letOthersOff(assembly)
    assembly.receivedBytes += block.length
    // One block of a cancelled piece does not make a snubbed source usable again.
    if (!assembly.isTakenBack || assembly.receivedBytes === assembly.length) this.#setSnubbed(source, false)
    source.window.received(block.length, this.#options.nowMs())
    this.#received(block.length)
    if (assembly.receivedBytes === assembly.length) this.#finish(assembly)
    if (source.assemblies.length > 0 && !isLetOff) this.#fill(source)
    else this.#refill()
  }

  /**
   * BEP 6: the peer will not serve this block. The piece goes to another source.
   * @returns true when it only answers a cancel
   */
  rejected(source: Source, block: BlockAddress): boolean {
    if (source.cancelled.take(block)) return true
    const assembly = source.assemblies.find(
      ({ piece, outstanding }) => piece === block.piece && outstanding.has(block.begin),
    )
    if (!assembly) return false
    if (assembly.isTakenBack) {
      // The reject answers the cancel after all.
      this.inFlight.answered(assembly, block.begin)
      this.#abandon(assembly, false)
      this.#refill()
      return true
    }
    this.sources.withdraw(source, assembly.piece)
    // Otherwise a source could take requests from seeds again and again by announcing pieces that it then rejects.
    this.#setSnubbed(source, true)
    source.snubEndsAtMs = Number.POSITIVE_INFINITY
    this.inFlight.answered(assembly, block.begin)
    this.#abandon(assembly, true)
    this.#refill()
    return false
  }

  /** Call with the verdict on a piece that `onPiece` handed out. @param isKept somebody took over its buffer */
  settle(assembly: Assembly, { isKept = false } = {}): void {
    this.verifying.delete(assembly.piece)
    if (!isKept) this.#release(assembly)
    if (this.#options.have.has(assembly.piece)) this.giveUp(assembly.piece)
    else this.#changes += 1
    this.#refill()
  }

  /** The piece is stored or comes from elsewhere: cancels every request for it. */
  giveUp(piece: PieceIndex): void {
    for (const assembly of [...this.inFlight.of(piece)]) this.#abandon(assembly, true)
  }

  pause(): void {
    this.isPaused = true
    for (const source of this.sources) {
      for (const assembly of [...source.assemblies]) this.#abandon(assembly, true)
      // The link may stay for hours, for the other side's downloads.
      source.block = undefined
    }
  }

  resume(): void {
    // No request was open during the pause.
    if (this.isPaused) this.stalls.moved(this.#options.nowMs())
    this.isPaused = false
    this.fillAll()
  }

  isInFlight(piece: PieceIndex): boolean {
    return this.inFlight.has(piece) || this.verifying.has(piece)
  }

  /** Time since a requested block arrived or a piece came within reach, in ms. */
  idleMs(): number {
    return this.stalls.idleMs(this.#options.nowMs())
  }

  /** Rank of this node among the active downloaders that it knows. */
  place(): { at: number; of: number } {
    return this.sources.placeOf(this.#options.node, this.#options.nowMs())
  }

  /** Some connected peer offers the piece. */
  isOffered(piece: PieceIndex): boolean {
    return this.sources.isOffered(piece)
  }

  /** How many connected peers offer the piece. */
  holdersOf(piece: PieceIndex): number {
    return this.sources.availability[piece]!
  }

  /** Call a few times a second. Takes stalled pieces from their sources where another source offers them. */
  tick(): void {
    const nowMs = this.#options.nowMs()
    for (const source of this.sources) if (nowMs >= source.snubEndsAtMs) this.#setSnubbed(source, false)
    for (const assembly of this.stalls.stalled(this.inFlight.pieces, nowMs)) {
      this.#setSnubbed(assembly.source, true)
      assembly.source.snubEndsAtMs = nowMs + SNUBBED_MS
      this.#abandon(assembly, true)
    }
    // Sources that are otherwise spared may be asked now.
    if (this.#isIdle) this.#changes += 1
    this.#refill()
  }

  /** Pieces may have become available: their hashes are known now, or they no longer come from the registry. */
  fillAll(): void {
    this.#changes += 1
    this.#refill()
  }

  /**
   * Fills the sources with the fewest outstanding bytes first, so that one long queue does not leave others idle.
   * Snubbed sources come last: a piece that was just taken from one must not return to it. Begun pieces continue
   * without room, too.
   */
  #refill(): void {
    if (this.isPaused) return
    const sources = this.#hasRoom ? [...this.sources] : [...this.sources].filter(openAssembly)
    sources.sort(
      (one, other) =>
        Number(one.isSnubbed) - Number(other.isSnubbed) || one.outstandingBytes - other.outstandingBytes,
    )
    for (const source of sources) this.#fill(source)
  }

  #setSnubbed(source: Source, isSnubbed: boolean): void {
    if (source.isSnubbed !== isSnubbed) this.#changes += 1
    source.isSnubbed = isSnubbed
  }

  #received(bytes: number): void {
    const nowMs = this.#options.nowMs()
    this.receivedAtMs = nowMs
    this.stalls.moved(nowMs)
    this.pace.received(bytes, nowMs)
  }

  get #isIdle(): boolean {
    return this.stalls.isIdle(this.#options.nowMs())
  }

  get #hasRoom(): boolean {
    return this.pace.hasRoom(this.#isIdle, (ms) => dueSince(this.inFlight.pieces, this.#options.nowMs() - ms))
  }

  #fill(source: Source): void {
    if (this.isPaused || !source.isUnchoked) return
    if (source.outstandingRequests === 0) source.window.resume(this.#options.nowMs())
    this.pace.resume(this.#options.nowMs())
    // Refill a quarter of the window at a time: one write and one TLS record carry several requests.
    if (source.outstandingBytes > source.window.bytes * REFILL_BELOW_SHARE) return
    while (
      source.outstandingBytes < source.window.bytes &&
      source.outstandingRequests < source.limits.requestsMax
    ) {
      // Checked before a piece begins: this node's own rate limit must not count as its source's delay.
      const delayMs = this.#options.limit.waitMs()
      if (delayMs > 0) {
        this.#options.wait(delayMs)
        return
      }
      const assembly = openAssembly(source) ?? this.#begin(source)
      if (!assembly) return
      this.#requestNext(assembly)
    }
  }

  #begin(source: Source): Assembly | undefined {
    if (!this.#hasRoom) return undefined
    const piece = this.#pick(source) ?? this.#pickAgain(source)
    if (piece === undefined) return undefined
    return this.#open(source, piece)
  }

  /** @returns undefined when no buffer is free */
  #open(source: Source, piece: PieceIndex): Assembly | undefined {
    const { layout, nowMs } = this.#options
    const copy = this.#openCopy(source, piece)
    if (!copy) return undefined
    const assembly: Assembly = {
      ...{ piece, length: pieceBytesAt(layout, piece), copy, source, startedAtMs: nowMs() },
      outstanding: new Map(),
      requestedBytes: 0,
      receivedBytes: 0,
      isTakenBack: false,
    }
    this.inFlight.add(assembly)
    return assembly
  }

  /**
   * Whole units of the cipher go to the file as they arrive, unless another thread is to write them; smaller blocks are
   * gathered, and second copies kept.
   */
  #openCopy({ limits }: Source, piece: PieceIndex): PieceCopy | undefined {
    const { stream: openStream, isForThread, buffers, layout } = this.#options
    const isStreamable = limits.blockBytes % UNIT_BYTES === 0 && !isForThread()
    const stream = isStreamable ? openStream(piece) : undefined
    if (stream) return { stream }
    const isSecond = isStreamable || this.inFlight.has(piece)
    const buffer = buffers.acquire(layout.pieceBytes, { isSecond })
    return buffer && { buffer }
  }

  #release({ copy }: Assembly): void {
    if (copy.stream) copy.stream.end()
    else this.#options.buffers.release(copy.buffer)
  }

  #pick(source: Source): PieceIndex | undefined {
    if (source.exhaustedAt === this.#changes) return undefined
    const piece = this.#pickOpen(source)
    if (piece === undefined) source.exhaustedAt = this.#changes
    return piece
  }

  #pickOpen(source: Source): PieceIndex | undefined {
    // While nothing arrives, seeds and snubbed sources are better than none.
    const isIdle = this.#isIdle
    const view: PickView = {
      pieceCount: this.#options.layout.pieceCount,
      position: this.#options.position(),
      isTaken: (piece) => !this.#isToBeAsked(piece) || (!isIdle && this.sources.isSparedFor(piece, source)),
      availability: this.sources.availability,
      sources: this.sources.count,
      random: this.#options.random,
    }
    if (!source.offered.isFull) return pickPiece(source.offered, view)
    const { at, of } = this.place()
    const isTaken = (piece: PieceIndex) => piece % of !== at || view.isTaken(piece)
    // Nobody else fetches this node's share, so it follows the reader's order. Pieces of other shares are picked at
    // random, far from where their owners are.
    return (
      nearestPiece(source.offered, { ...view, isTaken }) ??
      pickPiece(source.offered, { ...view, position: undefined })
    )
  }

  #isToBeAsked(piece: PieceIndex): boolean {
    return !this.#options.have.has(piece) && !this.isInFlight(piece) && this.#options.isAskable(piece)
  }

  /** A piece that is in flight from others, when nothing else can be requested from this source. */
  #pickAgain(source: Source): PieceIndex | undefined {
    if (source.assemblies.length > 0 || !this.#isEndGame()) return undefined
    const nowMs = this.#options.nowMs()
    return pickDuplicate(source, {
      inFlight: this.inFlight.pieces,
      nowMs,
      idleMs: this.stalls.standstillMs(nowMs),
      isVerifying: (piece) => this.verifying.has(piece),
      lateAfterMs: ({ source }) => this.pace.lateAfterMs(this.stalls.othersDueBytes(source, nowMs), nowMs),
    })
  }

  /** @returns true when requests to other sources were cancelled */
  #letOthersOff(begun: Assembly): boolean {
    const others = this.#letOff.has(begun.piece) ? [] : othersToLetOff(begun, this.inFlight.of(begun.piece))
    if (others.length === 0) return false
    this.#letOff.add(begun.piece)
    for (const other of others) this.#abandon(other, true)
    return true
  }

  #isEndGame(): boolean {
    if (this.#endGameAt === this.#changes) return true
    if (this.#isWaiting(this.#waitingPiece)) return false
    const { pieceCount } = this.#options.layout
    for (let piece = this.#options.have.firstMissing(); piece < pieceCount; piece++) {
      if (!this.#isWaiting(piece as PieceIndex)) continue
      this.#waitingPiece = piece as PieceIndex
      return false
    }
    this.#endGameAt = this.#changes
    return true
  }

  /** The piece could be requested now and is not in flight. */
  #isWaiting(piece: PieceIndex): boolean {
    return this.#isToBeAsked(piece) && this.sources.isWithinReach(piece)
  }

  #requestNext(assembly: Assembly): void {
    const { source } = assembly
    const length = Math.min(source.limits.blockBytes, assembly.length - assembly.requestedBytes)
    const begin = this.inFlight.asked(assembly, length)
    this.#options.limit.spend(length)
    source.port.request({ piece: assembly.piece, begin, length })
  }

  #finish(assembly: Assembly): void {
    if (!assembly.isTakenBack) {
      this.pace.finished(this.#options.nowMs() - assembly.startedAtMs)
      assembly.source.port.received(assembly.piece)
    }
    this.inFlight.remove(assembly)
    if (this.#options.have.has(assembly.piece) || this.verifying.has(assembly.piece)) {
      this.#release(assembly)
      return
    }
    this.verifying.add(assembly.piece)
    this.#options.onPiece(assembly)
  }

  /** @param isTold sends cancels; false for a source that is gone or choked us */
  #abandon(assembly: Assembly, isTold: boolean): void {
    const { source, piece } = assembly
    const arrivingBegin = source.arriving?.assembly === assembly ? source.arriving.begin : undefined
    if (arrivingBegin !== undefined) {
      // Its buffer is about to be reused.
      source.arriving = undefined
      source.port.discardBlock()
      this.inFlight.answered(assembly, arrivingBegin)
    }
    for (const [begin, length] of [...assembly.outstanding]) {
      this.inFlight.answered(assembly, begin)
      if (source.limits.hasFast) source.cancelled.add({ piece, begin })
      source.cancelledAtMs = this.#options.nowMs()
      if (isTold) source.port.cancel({ piece, begin, length })
    }
    this.inFlight.remove(assembly)
    this.#release(assembly)
    this.#changes += 1
  }
}
