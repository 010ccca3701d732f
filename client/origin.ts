import { setTimeout } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type PieceIndex, type PieceLayout, pieceBytesAt } from '../core/metainfo.ts'
import type { HashesRequest, HashesResponse, Lease } from '../core/tracker-api.ts'
import type { Bitfield } from './engine/bitfield.ts'
import { TrackerRefusedError } from './errors.ts'
import type { PieceBuffer, PieceBuffers } from './store/piece-buffers.ts'

/** What the origin needs of its swarm. */
export interface OriginHost {
  readonly layout: PieceLayout
  readonly have: Bitfield
  readonly epoch: number
  readonly buffers: PieceBuffers
  readonly log: Logger
  /** First piece that a reader waits for. */
  position(): number
  /** No source offers it and none is delivering it. */
  isOutOfReach(piece: PieceIndex): boolean
  /** The first piece whose hash is not known; undefined when all are. */
  firstUnknownHash(): number | undefined
  /** From now on the piece comes from the registry, not from peers. */
  claim(piece: PieceIndex): void
  unclaim(piece: PieceIndex): void
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

/** With no new piece for so long while a reader waits, this node fetches for itself. */
const PATIENCE_MS = 3_000
/** Pieces of one such fetch; then it looks whether the swarm has come back. */
const ALONE_PIECES_MAX = 16
/** Pause after a refusal or a broken connection of the registry, and after an unanswered call to the tracker. */
const RETRY_MS = 1_000
/** With no piece from anywhere, and fetches from the registry that fail, readers are told after so long. */
const STARVED_MS = 10_000
/** Hashes per publication: what one batch can carry. */
const PUBLISH_PIECES_MAX = 4096

interface Run {
  lease: string | null
  first: number
  end: number
  abort: AbortController
}

type Call = Pick<HashesRequest, 'lease' | 'isLeaseReleased' | 'wantsLease'> & {
  firstPiece?: number
  hashes?: string
}

/**
 * What this node fetches of one blob from the registry: what the tracker leased to it, and, when the swarm gives
 * nothing in time, what its reader waits for. Publishes the hashes of what it fetched under a lease. Invariant: at
 * most one run and one call to the tracker at a time.
 */
export class Origin {
  /** Bytes of pieces that came from the registry. */
  bytes = 0
  private readonly host: OriginHost
  private run: Run | undefined
  private asking: Promise<HashesResponse | undefined> | undefined
  private publishing: Promise<void> | undefined
  private isActive = false
  /** The swarm has given nothing for a while: fetch on, without waiting again before every piece. */
  private isAlone = false
  private movedAtMs = Date.now()
  private askAtMs = 0
  private fetchAtMs = 0
  /** When fetches began to fail with no piece in between. */
  private brokenAtMs: number | undefined
  private readonly unpublished = new Map<PieceIndex, { hash: Buffer; lease: string }>()

  constructor(host: OriginHost) {
    this.host = host
  }

  /** @param lease what the grant came with */
  start(lease: Lease | null): void {
    this.isActive = true
    this.brokenAtMs = undefined
    this.movedAtMs = Date.now()
    if (lease && !this.run) void this.follow(lease)
  }

  /** Nobody reads any more: stop fetching, publish what was fetched, and let someone else have the rest at once. */
  stop(): void {
    this.isActive = false
    this.isAlone = false
    this.run?.abort.abort()
  }

  /** Nothing is being fetched or left to publish. */
  get isDone(): boolean {
    return !this.run && this.unpublished.size === 0
  }

  /** Resolves when what was fetched so far is published, or the tracker did not take it. */
  async drained(): Promise<void> {
    await this.publish()
  }

  /** A piece came in. */
  moved(from: 'registry' | 'peer'): void {
    this.movedAtMs = Date.now()
    this.brokenAtMs = undefined
    if (from === 'peer') this.isAlone = false
  }

  /** Call a few times a second. */
  tick(): void {
    const now = Date.now()
    if (this.unpublished.size > 0 && now >= this.askAtMs) void this.publish()
    if (!this.isActive || this.host.have.isFull) return
    if (now - (this.brokenAtMs ?? now) > STARVED_MS) this.host.starved()
    if (!this.run && now - this.movedAtMs > PATIENCE_MS) this.isAlone = true
    if (!this.run && this.isAlone && now >= this.fetchAtMs) void this.fetchAlone()
    else if (!this.run && !this.asking && now >= this.askAtMs && this.lacksPieces()) void this.ask()
  }

  private lacksPieces(): boolean {
    for (let piece = this.host.have.firstMissing(); piece < this.host.layout.pieceCount; piece++) {
      const index = piece as PieceIndex
      if (!this.host.have.has(index) && this.host.isOutOfReach(index)) return true
    }
    return false
  }

  private async ask(): Promise<void> {
    const wantsLease = Date.now() >= this.fetchAtMs
    const answer = await this.tell({ lease: null, isLeaseReleased: false, wantsLease })
    this.askAtMs = Date.now() + (answer?.retryInMs ?? RETRY_MS)
    if (answer?.lease && this.isActive && !this.run) void this.follow(answer.lease)
    // Every hash is known and nobody has the bytes: there is nothing to wait for.
    if (answer && !answer.lease && answer.retryInMs === null && answer.peers.length === 0) this.isAlone = true
  }

  private async follow({ lease, firstPiece, pieces }: Lease): Promise<void> {
    const isWhole = await this.fetch({ lease, first: firstPiece, end: firstPiece + pieces })
    await this.publish()
    if (!isWhole) await this.tell({ lease, isLeaseReleased: true, wantsLease: false })
    this.askAtMs = 0
  }

  private async fetchAlone(): Promise<void> {
    const { have, layout } = this.host
    const first = have.firstMissing(this.host.position())
    if (first >= layout.pieceCount) return
    let end = first + 1
    while (end < layout.pieceCount && end - first < ALONE_PIECES_MAX && !have.has(end as PieceIndex)) end += 1
    this.host.log.info({ first, end }, 'the swarm gives nothing; fetching from the registry')
    await this.fetch({ lease: null, first, end })
  }

  /**
   * Fetches what is missing of [first, end), in order, one request for each contiguous run.
   * @returns false when it was stopped or broke off
   */
  private async fetch({ lease, first, end }: Omit<Run, 'abort'>): Promise<boolean> {
    const run: Run = { lease, first, end, abort: new AbortController() }
    this.run = run
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
      this.fetchAtMs = Date.now() + RETRY_MS
      this.brokenAtMs ??= Date.now()
      this.host.log.warn({ err: error }, 'a fetch from the registry broke off')
      return false
    } finally {
      this.run = undefined
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
    const { layout } = this.host
    const { signal } = run.abort
    const from = first * layout.pieceBytes
    const to = Math.min(end * layout.pieceBytes, layout.blobBytes)
    let piece = first as PieceIndex
    let filled = 0
    let buffer: PieceBuffer | undefined
    try {
      for await (const chunk of this.host.readRange(from, to, signal)) {
        for (let waitMs = this.host.allowDownload(chunk.length); waitMs > 0; ) {
          await setTimeout(waitMs, undefined, { signal })
          waitMs = this.host.allowDownload(chunk.length)
        }
        for (let at = 0; at < chunk.length; ) {
          buffer ??= await this.freeBuffer(signal)
          const length = pieceBytesAt(layout, piece)
          const taken = Math.min(length - filled, chunk.length - at)
          chunk.copy(buffer.bytes, filled, at, at + taken)
          filled += taken
          at += taken
          if (filled < length) continue
          const stored = this.store(run, piece, buffer, length)
          // It may fail long before the stream ends, which is when it is waited for.
          stored.catch(() => undefined)
          storing.push(stored)
          buffer = undefined
          piece = (piece + 1) as PieceIndex
          filled = 0
        }
      }
    } finally {
      if (buffer) this.host.buffers.release(buffer)
    }
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
        wantsLease: false,
        firstPiece: next.first,
        hashes: Buffer.concat(next.hashes).toString('base64url'),
      })
      if (!answer) return
      for (let at = 0; at < next.hashes.length; at++) this.unpublished.delete((next.first + at) as PieceIndex)
    }
  }

  private nextPublication(): { first: PieceIndex; lease: string; hashes: Buffer[] } | undefined {
    const first = [...this.unpublished.keys()].sort((a, b) => a - b)[0]
    if (first === undefined) return undefined
    const { lease } = this.unpublished.get(first)!
    const hashes: Buffer[] = []
    for (let piece = first; hashes.length < PUBLISH_PIECES_MAX; piece = (piece + 1) as PieceIndex) {
      const entry = this.unpublished.get(piece)
      if (entry?.lease !== lease) break
      hashes.push(entry.hash)
    }
    return { first, lease, hashes }
  }

  /** One call at a time. @returns undefined when the tracker did not take it */
  private async tell(call: Call): Promise<HashesResponse | undefined> {
    while (this.asking) await this.asking
    const asking = this.exchange(call)
    this.asking = asking
    try {
      return await asking
    } finally {
      this.asking = undefined
    }
  }

  private async exchange(call: Call): Promise<HashesResponse | undefined> {
    try {
      const answer = await this.host.askHashes({
        firstPiece: 0,
        hashes: '',
        ...call,
        epoch: this.host.epoch,
        position: this.host.position(),
        batchesFrom: this.host.firstUnknownHash() ?? null,
      })
      this.host.learn(answer)
      return answer
    } catch (error) {
      this.askAtMs = Date.now() + RETRY_MS
      // The tracker answered: these hashes are not wanted (any more). The pieces stay, for this node's own reader.
      if (error instanceof TrackerRefusedError) this.unpublished.clear()
      this.host.log.debug({ err: error }, 'the tracker did not take the call')
      return undefined
    }
  }
}
