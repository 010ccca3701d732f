import type { Logger } from 'pino'
import { BATCH_PIECES_MAX } from '../core/hash-batch.ts'
import { type PieceIndex, pieceBytesAt } from '../core/metainfo.ts'
import type { HashesRequest, HashesResponse, Lease } from '../core/tracker-api.ts'
import { type AloneView, aloneRun } from './alone-run.ts'
import { RangeIgnoredError, TrackerRefusedError } from './errors.ts'
import { RegistryStream } from './registry-stream.ts'
import type { PieceBuffer, PieceBuffers } from './store/piece-buffers.ts'

/** What the origin needs of its swarm. */
export interface OriginHost extends AloneView {
  readonly epoch: number
  readonly buffers: PieceBuffers
  readonly log: Logger
  /** The first piece whose hash is not known; undefined when all are. */
  firstUnknownHash(): number | undefined
  /** From now on the piece comes from the registry, not from peers. */
  claim(piece: PieceIndex): void
  unclaim(piece: PieceIndex): void
  /** How long no block has come from a peer, in ms. */
  peersIdleMs(): number
  /** When the credential ends, as `Date.now()` tells it; undefined when nobody can tell. */
  credentialEndsAtMs(): number | undefined
  readRange(from: number, to: number, signal: AbortSignal): AsyncIterable<Buffer>
  /** @returns 0 when `bytes` may come in now, else the ms to wait */
  allowDownload(bytes: number): number
  /** Verifies and stores a piece read from the registry. @returns its SHA-256 (32 bytes) */
  storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer>
  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse>
  /** Fetches have failed for so long, with no piece from anywhere, that readers must not wait on. */
  starved(): void
  /** Takes what the tracker said: batches, peers, epoch. */
  learn(answer: HashesResponse): void
}

/**
 * Ranges that this node fetches at the same time, each under a lease of its own: while one ends and asks for the next,
 * another keeps the link busy.
 */
const RUNS_MAX = 2
/** With no byte for so long while a reader waits, this node fetches for itself. */
const PATIENCE_MS = 3_000
/** The same with bytes that come, but no whole piece. */
const PIECE_PATIENCE_MS = 20_000
/** The tracker says that others fetch what is missing: so long it is believed. */
const TRUST_MS = 30_000
/** Before its credential ends a holder opens an answer without end, and reads on as the daemon itself would. */
const OPEN_BEFORE_END_MS = 10_000
/** Pause after a refusal or a broken connection of the registry, and after an unanswered call to the tracker. */
const RETRY_MS = 1_000
/** With no piece from anywhere, and fetches from the registry that fail, readers are told after so long. */
const STARVED_MS = 10_000
/** RFC 6585 §4: what was told is wanted, only later. */
const TOO_MANY_REQUESTS = 429

interface Run {
  lease: string | null
  first: number
  end: number
  abort: AbortController
}

/** An answer to the end of the blob, opened while the credential was good; one run at a time reads on in it. */
interface Lasting {
  stream: RegistryStream
  abort: AbortController
  isInUse: boolean
}

/** What the tracker said: 'refused' when it does not take the call, undefined when it did not answer. */
type Told = HashesResponse | 'refused' | undefined

type Call = Pick<HashesRequest, 'lease' | 'isLeaseReleased' | 'wantsLease'> & {
  firstPiece?: number
  hashes?: string
}

/**
 * What this node fetches of one blob from the registry: what the tracker leased to it, and, when the swarm gives
 * nothing in time, what its reader waits for. Publishes the hashes of what it fetched under a lease. Invariant: at
 * most RUNS_MAX runs and one call to the tracker at a time; no two runs fetch one piece.
 */
export class Origin {
  /** Bytes of pieces that came from the registry. */
  bytes = 0
  private readonly host: OriginHost
  private readonly runs = new Set<Run>()
  private lasting: Lasting | undefined
  private asking: Promise<Told> | undefined
  private publishing: Promise<void> | undefined
  private isActive = false
  /** Came before the reader that will have it followed. */
  private offered: Lease | undefined
  /** The swarm has given nothing for a while: fetch on, without waiting again before every piece. */
  private isAlone = false
  /** The tracker said that every piece has a hash: it leases none. */
  private isAllPublished = false
  private movedAtMs = Date.now()
  private askAtMs = 0
  /** Since when the tracker has said that others fetch what is missing. */
  private toldToWaitAtMs: number | undefined
  private fetchAtMs = 0
  private isRangeIgnored = false
  /** When fetches began to fail with no piece in between. */
  private brokenAtMs: number | undefined
  private readonly unpublished = new Map<PieceIndex, { hash: Buffer; lease: string }>()

  constructor(host: OriginHost) {
    this.host = host
  }

  /** A lease that came with a grant: the reader whose grant it is makes this node follow it. */
  offer(lease: Lease): void {
    if (!this.isActive) this.offered = lease
    else if (this.canFollowLease()) void this.follow(lease)
    else this.release(lease)
  }

  start(): void {
    const lease = this.offered
    this.offered = undefined
    this.isActive = true
    this.brokenAtMs = undefined
    this.movedAtMs = Date.now()
    this.toldToWaitAtMs = undefined
    if (lease) void this.follow(lease)
  }

  /** Nobody reads any more: stop fetching, publish what was fetched, and let someone else have the rest at once. */
  stop(): void {
    this.isActive = false
    this.isAlone = false
    for (const run of this.runs) run.abort.abort()
    this.endLasting()
  }

  /** Nothing is being fetched or left to publish. */
  get isDone(): boolean {
    return this.runs.size === 0 && this.unpublished.size === 0
  }

  /** Resolves when what was fetched so far is published, or the tracker did not take it. */
  async drained(): Promise<void> {
    await this.publish()
  }

  /** A piece came in. */
  moved(from: 'registry' | 'peer'): void {
    this.movedAtMs = Date.now()
    this.brokenAtMs = undefined
    this.toldToWaitAtMs &&= Date.now()
    // What nobody offers and nobody will be leased comes from the registry all the same.
    if (from === 'peer' && this.isAlone && !(this.isAllPublished && this.lacksPieces())) this.isAlone = false
  }

  /** Call a few times a second. */
  tick(): void {
    const now = Date.now()
    if (this.unpublished.size > 0 && now >= this.askAtMs) void this.publish()
    if (!this.isActive || this.host.have.isFull) return
    if (now - (this.brokenAtMs ?? now) > STARVED_MS) this.host.starved()
    if (this.runs.size === 0 && this.isOutOfPatience(now)) this.isAlone = true
    if (this.runs.size === 0 && this.isAlone && now >= this.fetchAtMs) void this.fetchAlone()
    else if (!this.asking && this.wantsLease()) void this.ask()
    if (!this.lasting && this.runs.size === 0 && this.isCredentialEnding()) this.openLastingInTime()
  }

  private isOutOfPatience(now: number): boolean {
    const idleMs = Math.min(now - this.movedAtMs, this.host.peersIdleMs())
    if (this.toldToWaitAtMs !== undefined && now - this.toldToWaitAtMs < TRUST_MS) return false
    return idleMs > PATIENCE_MS || now - this.movedAtMs > PIECE_PATIENCE_MS
  }

  private wantsLease(): boolean {
    return Date.now() >= this.askAtMs && this.canFollowLease()
  }

  private canFollowLease(): boolean {
    const isFree = this.runs.size < (this.lasting || this.isRangeIgnored ? 1 : RUNS_MAX)
    return this.isActive && isFree && Date.now() >= this.fetchAtMs && this.lacksPieces()
  }

  private lacksPieces(): boolean {
    for (let piece = this.host.have.firstMissing(); piece < this.host.layout.pieceCount; piece++) {
      const index = piece as PieceIndex
      if (!this.host.have.has(index) && this.host.isOutOfReach(index)) return true
    }
    return false
  }

  private async ask(): Promise<void> {
    const answer = await this.tell({ lease: null, isLeaseReleased: false, wantsLease: true })
    if (answer === undefined || answer === 'refused' || answer.lease) return
    // Every hash is known and nobody has the bytes: there is nothing to wait for.
    if (this.isAllPublished && answer.peers.length === 0) this.isAlone = true
  }

  private async follow({ lease, firstPiece, pieces }: Lease): Promise<void> {
    const isWhole = await this.fetch({ lease, first: firstPiece, end: firstPiece + pieces })
    // Its last publication asks for the next lease; with nothing to publish, this does.
    await this.publish()
    if (!isWhole) await this.tell({ lease, isLeaseReleased: true, wantsLease: this.wantsLease() })
    else if (!this.asking && this.wantsLease()) await this.ask()
  }

  private release({ lease }: Lease): void {
    void this.tell({ lease, isLeaseReleased: true, wantsLease: false })
  }

  private async fetchAlone(): Promise<void> {
    const next = aloneRun(this.host)
    if (!next) return
    this.host.log.info(next, 'the swarm gives nothing; fetching from the registry')
    await this.fetch({ lease: null, ...next })
  }

  /**
   * Fetches what is missing of [first, end), in order, one request for each contiguous run.
   * @returns false when it was stopped or broke off
   */
  private async fetch({ lease, first, end }: Omit<Run, 'abort'>): Promise<boolean> {
    const run: Run = { lease, first, end, abort: new AbortController() }
    this.runs.add(run)
    try {
      for (let piece = first; piece < end && !run.abort.signal.aborted; ) {
        const from = this.host.have.firstMissing(piece)
        if (from >= end) break
        let to = from + 1
        while (to < end && !this.host.have.has(to as PieceIndex)) to += 1
        await this.fetchRun(run, from, to)
        piece = to
      }
      return !run.abort.signal.aborted
    } catch (error) {
      if (run.abort.signal.aborted) return false
      if (error instanceof RangeIgnoredError) {
        this.isRangeIgnored = true
        return false
      }
      this.fetchAtMs = Date.now() + RETRY_MS
      this.brokenAtMs ??= Date.now()
      this.host.log.warn({ err: error }, 'a fetch from the registry broke off')
      return false
    } finally {
      this.runs.delete(run)
    }
  }

  private async fetchRun(run: Run, first: number, end: number): Promise<void> {
    for (let piece = first; piece < end; piece++) this.host.claim(piece as PieceIndex)
    const storing: Promise<void>[] = []
    try {
      await this.streamPieces(run, first, end, storing)
    } finally {
      await Promise.allSettled(storing)
      for (let piece = first; piece < end; piece++) this.host.unclaim(piece as PieceIndex)
    }
    await Promise.all(storing)
  }

  private async streamPieces(run: Run, first: number, end: number, storing: Promise<void>[]): Promise<void> {
    const { layout, buffers } = this.host
    const { stream, done } = await this.openStream(run, first, end)
    try {
      await stream.skipTo(first as PieceIndex)
      for (let at = first; at < end; at++) {
        const piece = at as PieceIndex
        const length = pieceBytesAt(layout, piece)
        const buffer = await this.freeBuffer(run.abort.signal)
        await stream.readPiece(buffer.bytes, length).catch((error: unknown) => {
          buffers.release(buffer)
          throw error
        })
        const stored = this.store(run, piece, buffer, length)
        // It may fail long before the stream ends, which is when it is waited for.
        stored.catch(() => undefined)
        storing.push(stored)
      }
    } finally {
      await done()
    }
  }

  /** A range for just these pieces; near the credential's end and after it, the answer that lasts. */
  private async openStream(
    run: Run,
    first: number,
    end: number,
  ): Promise<{ stream: RegistryStream; done: () => Promise<void> }> {
    if (this.isRangeIgnored && (this.lasting?.stream.piece ?? 0) > first) this.endLasting()
    if (!this.lasting && this.isRangeIgnored) this.openLasting(0)
    if (!this.lasting && this.isCredentialEnding()) this.openLasting(first)
    const { lasting } = this
    if (lasting && !lasting.isInUse && lasting.stream.piece <= first) {
      lasting.isInUse = true
      const stop = () => this.endLasting()
      run.abort.signal.addEventListener('abort', stop, { once: true })
      return {
        stream: lasting.stream,
        done: async () => {
          run.abort.signal.removeEventListener('abort', stop)
          lasting.isInUse = false
          // An answer that broke in the middle of a piece is of no use any more.
          if (lasting.stream.piece !== end) this.endLasting()
        },
      }
    }
    const stream = this.newStream(first, end, run.abort.signal)
    return { stream, done: () => stream.end() }
  }

  private newStream(first: number, end: number, signal: AbortSignal): RegistryStream {
    const { layout } = this.host
    const from = first * layout.pieceBytes
    const to = Math.min(end * layout.pieceBytes, layout.blobBytes)
    return new RegistryStream({
      layout,
      firstPiece: first,
      chunks: this.host.readRange(from, to, signal),
      allowDownload: (bytes) => this.host.allowDownload(bytes),
      signal,
    })
  }

  private isCredentialEnding(): boolean {
    const endsAtMs = this.host.credentialEndsAtMs()
    return endsAtMs !== undefined && Date.now() > endsAtMs - OPEN_BEFORE_END_MS
  }

  /** Others hold the leases now; when they end, this node's credential will have ended as well. */
  private openLastingInTime(): void {
    const first = this.host.firstUnknownHash()
    if (first === undefined) return
    const { stream } = this.openLasting(first)
    stream.open().catch(() => this.endLasting())
  }

  private openLasting(first: number): Lasting {
    const abort = new AbortController()
    const stream = this.newStream(first, this.host.layout.pieceCount, abort.signal)
    this.lasting = { stream, abort, isInUse: false }
    return this.lasting
  }

  private endLasting(): void {
    this.lasting?.abort.abort()
    this.lasting?.stream.end().catch(() => undefined)
    this.lasting = undefined
  }

  private async store(run: Run, piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<void> {
    try {
      const hash = await this.host.storeFromRegistry(piece, buffer, length)
      this.bytes += length
      if (run.lease === null) return
      this.unpublished.set(piece, { hash, lease: run.lease })
      void this.publish()
    } finally {
      this.host.buffers.release(buffer)
    }
  }

  private async freeBuffer(signal: AbortSignal): Promise<PieceBuffer> {
    for (;;) {
      signal.throwIfAborted()
      const buffer = this.host.buffers.acquire(this.host.layout.pieceBytes)
      if (buffer) return buffer
      await new Promise<void>((resolve) => {
        const off = this.host.buffers.onRelease(() => {
          off()
          resolve()
        })
      })
    }
  }

  /** Publishes what has been fetched, in runs; whatever comes meanwhile goes with the next call. */
  private publish(): Promise<void> {
    this.publishing ??= this.publishAll().finally(() => {
      this.publishing = undefined
    })
    return this.publishing
  }

  private async publishAll(): Promise<void> {
    for (let next = this.nextPublication(); next; next = this.nextPublication()) {
      const answer = await this.tell({
        lease: next.lease,
        isLeaseReleased: false,
        // The call is made anyway, and what it publishes may end a lease that another one waits for.
        wantsLease: this.canFollowLease(),
        firstPiece: next.first,
        hashes: Buffer.concat(next.hashes).toString('base64url'),
      })
      if (!answer) return
      // Taken, or not wanted (any more): then the pieces stay, for this node's own reader.
      for (let at = 0; at < next.hashes.length; at++) this.unpublished.delete((next.first + at) as PieceIndex)
    }
  }

  private nextPublication(): { first: PieceIndex; lease: string; hashes: Buffer[] } | undefined {
    const first = [...this.unpublished.keys()].sort((a, b) => a - b)[0]
    if (first === undefined) return undefined
    const { lease } = this.unpublished.get(first)!
    const hashes: Buffer[] = []
    for (let piece = first; hashes.length < BATCH_PIECES_MAX; piece = (piece + 1) as PieceIndex) {
      const entry = this.unpublished.get(piece)
      if (entry?.lease !== lease) break
      hashes.push(entry.hash)
    }
    return { first, lease, hashes }
  }

  /** One call at a time. */
  private async tell(call: Call): Promise<Told> {
    while (this.asking) await this.asking
    const asking = this.exchange(call)
    this.asking = asking
    try {
      return await asking
    } finally {
      this.asking = undefined
    }
  }

  private async exchange(call: Call): Promise<Told> {
    try {
      const answer = await this.host.askHashes({
        firstPiece: 0,
        hashes: '',
        ...call,
        epoch: this.host.epoch,
        isRangeIgnored: this.isRangeIgnored,
        position: this.lasting?.stream.piece ?? this.host.position(),
        batchesFrom: this.host.firstUnknownHash() ?? null,
      })
      this.host.learn(answer)
      if (call.wantsLease) this.noteLease(answer)
      return answer
    } catch (error) {
      this.askAtMs = Date.now() + RETRY_MS
      // Who does not answer vouches for nobody any more: what others fetch, they cannot publish either.
      if (!(error instanceof TrackerRefusedError)) this.toldToWaitAtMs = undefined
      this.host.log.debug({ err: error }, 'the tracker did not take the call')
      return error instanceof TrackerRefusedError && error.status !== TOO_MANY_REQUESTS
        ? 'refused'
        : undefined
    }
  }

  private noteLease({ lease, retryInMs }: HashesResponse): void {
    this.isAllPublished = lease === null && retryInMs === null
    if (lease) {
      this.toldToWaitAtMs = undefined
      // Asked for while someone read; the rest is another's at once.
      if (this.isActive) void this.follow(lease)
      else this.release(lease)
      return
    }
    this.askAtMs = Date.now() + (retryInMs ?? RETRY_MS)
    this.toldToWaitAtMs = retryInMs === null ? undefined : (this.toldToWaitAtMs ?? Date.now())
  }
}
