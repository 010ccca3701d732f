import { type NodeId, type PieceIndex, type PieceLayout, pieceBytesAt } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'
import type { Bitfield } from '../store/bitfield.ts'
import type { PieceBufferShare } from '../store/piece-buffers.ts'
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
  type Source,
  type SourceLimits,
  type SourcePort,
} from './source.ts'
import { Sources } from './sources.ts'
import { dueSince, SNUBBED_MS, Stalls } from './stalls.ts'

export type { Assembly, Source, SourceLimits, SourcePort } from './source.ts'

export interface DownloadOptions {
  /** This one. */
  node: NodeId
  layout: PieceLayout
  have: Bitfield
  buffers: Pick<PieceBufferShare, 'acquire' | 'release'>
  /** False for pieces that must not be asked of peers: no hash yet, or this node fetches them from the registry. */
  isAskable(piece: PieceIndex): boolean
  /** First piece that a reader waits for; undefined when no one reads in order. */
  position(): number | undefined
  /** A piece is whole: verify it, then call `settle`. */
  onPiece(assembly: Assembly): void
  nowMs(): number
  random(): number
  /** Of what this node takes in. */
  limit: RateLimit
  /** Calls `fillAll` after so many ms; once, however often it is asked for meanwhile. */
  wait(delayMs: number): void
}

/** Blocks that nobody asked for, per peer, before it is banned: a window's worth may cross a cancel. */
const UNASKED_BYTES_MAX = 8 * 1024 * 1024
/** New requests go out when less than this share of the window is outstanding. */
const REFILL_BELOW_SHARE = 3 / 4

/**
 * Decides which blocks to ask whom for. No sockets, no clock of its own. Invariants: a piece is under way from one source
 * at most, in the end game from two, and from up to six when nothing comes; every buffer belongs to exactly one assembly
 * and goes back to the pool when that is settled or abandoned; nothing is asked for while `isPaused`.
 */
export class Download {
  isPaused = true
  readonly #options: DownloadOptions
  readonly sources: Sources
  readonly inFlight: InFlight
  readonly verifying = new Set<PieceIndex>()
  /**
   * How often a piece may have become one to be asked for, or a source one to be asked. Looking in vain through all
   * pieces of all sources whenever a block comes would be most of what a large swarm costs.
   */
  #changes = 0
  /** At which of these changes everything that could be had was under way; -1 when it may not be. */
  #endGameAt = -1
  /** The piece for which it was not the end game when that was asked last. */
  #waitingPiece = 0 as PieceIndex
  readonly pace: Pace
  readonly stalls: Stalls
  /** Pieces of which one source let others off: once each, or a few could keep a piece from who would bring it. */
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
    // It is no downloader any more, for whose sake seeds are spared.
    if (isNews && source.offered.isFull) this.#changes += 1
    if (isLetOff) this.#refill()
    else if (isUseful) this.#fill(source)
    return isNews
  }

  /** A seed that has sent nothing of the piece yet need not: another downloader has it now. */
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
    // What only this one has is within reach now, and seeds need not be spared any more where it is one of them.
    this.#changes += 1
    this.#fill(source)
  }

  /** BEP 6: choking lets queued requests be answered with reject; they are given up here and now. */
  choked(source: Source): void {
    source.isUnchoked = false
    for (const assembly of [...source.assemblies]) this.#abandon(assembly, false)
    this.fillAll()
  }

  /**
   * @returns where the block goes; undefined for one that was cancelled and is not taken in
   * @throws PeerProtocolError when blocks come that were never asked for
   */
  blockStarts(source: Source, block: BlockAddress): Uint8Array | undefined {
    source.arriving = undefined
    this.#takeBack(source, block)
    if (source.cancelled.take(block)) {
      // Nobody is idle whose link still brings what was asked for once, and it says how fast that link is: where all is
      // cancelled before it comes, nothing else does.
      this.#received(block.length)
      return undefined
    }
    const assembly = source.assemblies.find(
      ({ piece, outstanding }) => piece === block.piece && outstanding.get(block.begin) === block.length,
    )
    if (assembly) {
      source.arriving = { assembly, begin: block.begin, sinceMs: this.#options.nowMs() }
      return assembly.buffer.bytes.subarray(block.begin, block.begin + block.length)
    }
    // Small ones cost as much to take in.
    source.unaskedBytes += Math.max(block.length, BLOCK_BYTES_FOREIGN)
    if (source.unaskedBytes > UNASKED_BYTES_MAX) throw new PeerProtocolError('blocks that nobody asked for')
    return undefined
  }

  /**
   * What is cancelled and comes all the same, since it was in the other side's socket, is taken in while the piece is still
   * missing and nothing of it comes from elsewhere: else it takes as much of this node's link in vain, and that again from
   * another (1,000 nodes in simulation that come one by one: 7.5 MiB of 128 each, 2.3 with this). The price: whoever sends
   * one block and no more keeps a piece from another for as long as one stalls, once.
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
    const isLetOff = assembly.receivedBytes === 0 && this.#letOthersOff(assembly)
    assembly.receivedBytes += block.length
    // One block of what it was told to stop does not make it one to be asked again.
    if (!assembly.isTakenBack || assembly.receivedBytes === assembly.length) this.#setSnubbed(source, false)
    source.window.received(block.length, this.#options.nowMs())
    this.#received(block.length)
    if (assembly.receivedBytes === assembly.length) this.#finish(assembly)
    if (source.assemblies.length > 0 && !isLetOff) this.#fill(source)
    else this.#refill()
  }

  /**
   * BEP 6: the peer will not serve this block. The piece goes to someone else.
   * @returns true when it only answers a cancel
   */
  rejected(source: Source, block: BlockAddress): boolean {
    if (source.cancelled.take(block)) return true
    const assembly = source.assemblies.find(
      ({ piece, outstanding }) => piece === block.piece && outstanding.has(block.begin),
    )
    if (!assembly) return false
    if (assembly.isTakenBack) {
      // The answer to the cancel, after all.
      this.inFlight.answered(assembly, block.begin)
      this.#abandon(assembly, false)
      this.#refill()
      return true
    }
    this.sources.withdraw(source, assembly.piece)
    // Or it could take requests back from seeds, time and again, by announcing what it then rejects.
    this.#setSnubbed(source, true)
    source.snubEndsAtMs = Number.POSITIVE_INFINITY
    this.inFlight.answered(assembly, block.begin)
    this.#abandon(assembly, true)
    this.#refill()
    return false
  }

  /** The verdict on a piece that `onPiece` handed out. */
  settle(assembly: Assembly): void {
    this.verifying.delete(assembly.piece)
    this.#options.buffers.release(assembly.buffer)
    if (this.#options.have.has(assembly.piece)) this.giveUp(assembly.piece)
    else this.#changes += 1
    this.#refill()
  }

  /** The piece comes from elsewhere, or is here: whatever is under way for it stops. */
  giveUp(piece: PieceIndex): void {
    for (const assembly of [...this.inFlight.of(piece)]) this.#abandon(assembly, true)
  }

  pause(): void {
    this.isPaused = true
    for (const source of this.sources)
      for (const assembly of [...source.assemblies]) this.#abandon(assembly, true)
  }

  resume(): void {
    // Nothing was asked for meanwhile.
    if (this.isPaused) this.stalls.moved(this.#options.nowMs())
    this.isPaused = false
    this.fillAll()
  }

  isInFlight(piece: PieceIndex): boolean {
    return this.inFlight.has(piece) || this.verifying.has(piece)
  }

  /** How long no block that was asked for has come, and no piece within reach that was not, in ms. */
  idleMs(): number {
    return this.stalls.idleMs(this.#options.nowMs())
  }

  /** Where this node stands among the downloaders at work that it knows of. */
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

  /** Call a few times a second: takes pieces from sources that stall, where someone else offers them. */
  tick(): void {
    const nowMs = this.#options.nowMs()
    for (const source of this.sources) if (nowMs >= source.snubEndsAtMs) this.#setSnubbed(source, false)
    for (const assembly of this.stalls.stalled(this.inFlight.pieces, nowMs)) {
      this.#setSnubbed(assembly.source, true)
      assembly.source.snubEndsAtMs = nowMs + SNUBBED_MS
      this.#abandon(assembly, true)
    }
    // What is spared otherwise may be asked for now.
    if (this.#isIdle) this.#changes += 1
    this.#refill()
  }

  /** Pieces may be asked for that were not before: their hashes are known, or they do not come from elsewhere. */
  fillAll(): void {
    this.#changes += 1
    this.#refill()
  }

  /**
   * Where not all can be asked, those go first that are asked for least: what waits at one must not keep others idle. Last
   * those that stalled: what was just taken from one must not go back to it. What was begun goes on without room, too.
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
    // A quarter of the window at a time: one write, and one TLS record, for several requests.
    if (source.outstandingBytes > source.window.bytes * REFILL_BELOW_SHARE) return
    while (
      source.outstandingBytes < source.window.bytes &&
      source.outstandingRequests < source.limits.requestsMax
    ) {
      // Before a piece begins: its own wait must not count as its source's.
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
    const { buffers, layout, nowMs } = this.#options
    const buffer = buffers.acquire(layout.pieceBytes)
    if (!buffer) return undefined
    const assembly: Assembly = {
      ...{ piece, length: pieceBytesAt(layout, piece), buffer, source, startedAtMs: nowMs() },
      outstanding: new Map(),
      requestedBytes: 0,
      receivedBytes: 0,
      isTakenBack: false,
    }
    this.inFlight.add(assembly)
    return assembly
  }

  #pick(source: Source): PieceIndex | undefined {
    if (source.exhaustedAt === this.#changes) return undefined
    const piece = this.#pickOpen(source)
    if (piece === undefined) source.exhaustedAt = this.#changes
    return piece
  }

  #pickOpen(source: Source): PieceIndex | undefined {
    // While nothing comes: rather of a seed, or of one that stalled, than not at all.
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
    // A share is nobody else's, so it comes in the reader's order; what falls to others is taken far from where they are.
    return (
      nearestPiece(source.offered, { ...view, isTaken }) ??
      pickPiece(source.offered, { ...view, position: undefined })
    )
  }

  #isToBeAsked(piece: PieceIndex): boolean {
    return !this.#options.have.has(piece) && !this.isInFlight(piece) && this.#options.isAskable(piece)
  }

  /** Of what is under way from others, when there is nothing else to ask this one for. */
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

  /** @returns true when there were others */
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

  /** It could be asked for, and is not. */
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
      this.#options.buffers.release(assembly.buffer)
      return
    }
    this.verifying.add(assembly.piece)
    this.#options.onPiece(assembly)
  }

  /** @param isTold cancels go out; not to a source that is gone or choked us */
  #abandon(assembly: Assembly, isTold: boolean): void {
    const { source, piece } = assembly
    const arrivingBegin = source.arriving?.assembly === assembly ? source.arriving.begin : undefined
    if (arrivingBegin !== undefined) {
      // Its buffer is about to be used for something else.
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
    this.#options.buffers.release(assembly.buffer)
    this.#changes += 1
  }
}
