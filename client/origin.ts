import { isDefect } from '../core/defects.ts'
import { type PieceIndex, pieceBytesAt } from '../core/metainfo.ts'
import type { HashesRequest, HashesResponse, Lease } from '../core/tracker-api.ts'
import { aloneRun, lacksPieces, outOfReachRuns } from './alone-run.ts'
import { RangeIgnoredError, TrackerRefusedError } from './errors.ts'
import { LastingAnswer } from './lasting-answer.ts'
import type { OriginHost } from './origin-host.ts'
import { Patience } from './patience.ts'
import type { RegistryStream } from './registry-stream.ts'
import type { PieceBuffer } from './store/piece-buffers.ts'
import { Unpublished } from './unpublished.ts'

/**
 * Ranges that this node fetches at the same time, each under a lease of its own: while one ends and asks for the next,
 * another keeps the link busy.
 */
export const RUNS_MAX = 2
/** Pause after a refusal or a broken connection of the registry, and after an unanswered call to the tracker. */
const RETRY_MS = 1_000
/** RFC 6585 §4: what was told is wanted, only later. */
const TOO_MANY_REQUESTS = 429

interface Run {
  lease: string | null
  first: number
  end: number
  abort: AbortController
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
  private readonly lasting: LastingAnswer
  private readonly patience = new Patience(Date.now())
  private asking: Promise<Told> | undefined
  private publishing: Promise<void> | undefined
  private isActive = false
  /** Came before the reader that will have it followed. */
  private offered: Lease | undefined
  /** The swarm has given nothing for a while: fetch on, without waiting again before every piece. */
  private isAlone = false
  /** The tracker said that every piece has a hash: it leases only what is awaited in vain. */
  private isAllPublished = false
  private askAtMs = 0
  /** No peer has sent anything for a while: the tracker is told what is missing. */
  private starves = false
  private fetchAtMs = 0
  private isRangeIgnored = false
  private readonly unpublished = new Unpublished()

  constructor(host: OriginHost) {
    this.host = host
    this.lasting = new LastingAnswer(host.access, host.layout.pieceCount)
  }

  /** A lease that came with a grant: the reader whose grant it is makes this node follow it. */
  offer(lease: Lease): void {
    if (!this.isActive) this.offered = lease
    else if (this.canFollowLease()) this.host.boundary.run(() => this.follow(lease))
    else this.release(lease)
  }

  start(): void {
    const lease = this.offered
    this.offered = undefined
    this.isActive = true
    this.patience.begin(Date.now())
    if (lease) this.host.boundary.run(() => this.follow(lease))
  }

  /** Nobody reads any more: stop fetching, publish what was fetched, and let someone else have the rest at once. */
  stop(): void {
    this.isActive = false
    this.isAlone = false
    this.starves = false
    for (const run of this.runs) run.abort.abort()
    this.lasting.end()
  }

  /** Nothing is being fetched or left to publish. */
  get isDone(): boolean {
    return this.runs.size === 0 && this.unpublished.size === 0
  }

  /** A piece came in. */
  moved(from: 'registry' | 'peer'): void {
    this.patience.moved(Date.now())
    // What nobody offers and nobody will be leased comes from the registry all the same.
    if (from === 'registry' || (this.isAllPublished && lacksPieces(this.host))) return
    this.isAlone = false
    this.starves = false
  }

  /** Call a few times a second. */
  tick(): void {
    const now = Date.now()
    if (this.unpublished.size > 0 && now >= this.askAtMs) this.host.boundary.run(() => this.publish())
    if (!this.isActive || this.host.have.isFull) return
    if (this.patience.isBroken(now)) this.host.starved()
    if (this.runs.size === 0) this.lookForHelp(now)
    if (this.runs.size === 0 && this.isAlone && now >= this.fetchAtMs)
      this.host.boundary.run(() => this.fetchAlone())
    else if (!this.asking && this.wantsLease()) this.host.boundary.run(() => this.ask())
    // Others hold the leases now; when they end, this node's credential will have ended as well.
    const first = this.runs.size === 0 && this.lasting.isDue ? this.host.firstUnknownHash() : undefined
    if (first !== undefined) this.lasting.openInTime(first)
  }

  /** Nothing comes: the tracker may send somebody for what is missing. When that does not help, this node helps itself. */
  private lookForHelp(now: number): void {
    const peersIdleMs = this.host.peersIdleMs()
    const isFree = !this.asking && !this.patience.isToldToWait
    if (!this.starves && isFree && this.patience.isStarving(now, peersIdleMs)) {
      this.starves = true
      this.askAtMs = now
    }
    if (this.patience.isOut(now, peersIdleMs)) this.isAlone = true
  }

  private wantsLease(): boolean {
    return Date.now() >= this.askAtMs && this.canFollowLease()
  }

  private canFollowLease(): boolean {
    const isFree = this.runs.size < (this.lasting.isOpen || this.isRangeIgnored ? 1 : RUNS_MAX)
    return this.isActive && isFree && Date.now() >= this.fetchAtMs && lacksPieces(this.host)
  }

  private async ask(): Promise<void> {
    const answer = await this.tell({ lease: null, isLeaseReleased: false, wantsLease: true })
    if (answer === undefined || answer === 'refused' || answer.lease) return
    // Every hash is known, and nobody has the bytes or is fetching them: there is nothing to wait for.
    const isFetched = answer.retryInMs !== null
    if (this.isAllPublished && !isFetched && answer.peers.length === 0) this.isAlone = true
  }

  private async follow({ lease, firstPiece, pieces }: Lease): Promise<void> {
    const isWhole = await this.fetch({ lease, first: firstPiece, end: firstPiece + pieces })
    // Its last publication asks for the next lease; with nothing to publish, this does.
    await this.publish()
    if (!isWhole) await this.tell({ lease, isLeaseReleased: true, wantsLease: this.wantsLease() })
    else if (!this.asking && this.wantsLease()) await this.ask()
  }

  private release({ lease }: Lease): void {
    const released = { lease, isLeaseReleased: true, wantsLease: this.wantsLease() }
    this.host.boundary.run(() => this.tell(released))
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
      if (isDefect(error)) this.host.boundary.fail(error)
      this.fetchAtMs = Date.now() + RETRY_MS
      this.patience.broke(Date.now())
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
    const { stream, done } = this.openStream(run, first, end)
    try {
      await stream.skipTo(first as PieceIndex)
      for (let at = first; at < end; at++) {
        const piece = at as PieceIndex
        const length = pieceBytesAt(layout, piece)
        const buffer = await buffers.whenFree(layout.pieceBytes, run.abort.signal)
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
  private openStream(
    { abort: { signal } }: Run,
    first: number,
    end: number,
  ): { stream: RegistryStream; done: () => Promise<void> } {
    const { lasting } = this
    if (this.isRangeIgnored && (lasting.piece ?? 0) > first) lasting.end()
    if (!lasting.isOpen && this.isRangeIgnored) lasting.openFrom(0)
    if (lasting.isDue) lasting.openFrom(first)
    const used = lasting.use(first, end, signal)
    if (used) return used
    const stream = this.host.access.stream(first, end, signal)
    return { stream, done: () => stream.end() }
  }

  private async store(run: Run, piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<void> {
    try {
      const hash = await this.host.storeFromRegistry(piece, buffer, length)
      this.bytes += length
      if (run.lease === null) return
      this.unpublished.add(piece, hash, run.lease)
      this.host.boundary.run(() => this.publish())
    } finally {
      this.host.buffers.release(buffer)
    }
  }

  /**
   * Publishes what has been fetched, in runs; whatever comes meanwhile goes with the next call. Resolves when it is
   * published, or the tracker did not take it.
   */
  publish(): Promise<void> {
    this.publishing ??= this.publishAll().finally(() => {
      this.publishing = undefined
    })
    return this.publishing
  }

  private async publishAll(): Promise<void> {
    for (let next = this.unpublished.next(); next; next = this.unpublished.next()) {
      const answer = await this.tell({
        lease: next.lease,
        isLeaseReleased: false,
        // The call is made anyway, and what it publishes may end a lease that another one waits for.
        wantsLease: this.canFollowLease(),
        firstPiece: next.first,
        hashes: Buffer.concat(next.hashes).toString('base64url'),
      })
      if (!answer) return
      this.unpublished.settle(next)
    }
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
    const { isRangeIgnored } = this
    try {
      const answer = await this.host.askHashes({
        firstPiece: 0,
        hashes: '',
        ...call,
        epoch: this.host.epoch,
        isRangeIgnored,
        // Not in every call: a tracker that is older refuses what it does not know.
        ...(this.starves && { awaited: outOfReachRuns(this.host) }),
        position: this.lasting.piece ?? this.host.position(),
        batchesFrom: this.host.firstUnknownHash() ?? null,
      })
      this.host.learn(answer)
      if (call.wantsLease) this.noteLease(answer, { isStale: isRangeIgnored !== this.isRangeIgnored })
      return answer
    } catch (error) {
      this.askAtMs = Date.now() + RETRY_MS
      if (isDefect(error)) this.host.boundary.fail(error)
      // Who does not answer vouches for nobody any more: what others fetch, they cannot publish either.
      if (!(error instanceof TrackerRefusedError)) this.patience.notToldToWait()
      this.host.log.debug({ err: error }, 'the tracker did not take the call')
      return error instanceof TrackerRefusedError && error.status !== TOO_MANY_REQUESTS
        ? 'refused'
        : undefined
    }
  }

  /** @param isStale the registry has shown since the call that it gives no parts: others would wait for one of them */
  private noteLease({ lease, retryInMs, status }: HashesResponse, { isStale }: { isStale: boolean }): void {
    this.isAllPublished = status !== 'cold'
    if (lease) {
      this.patience.notToldToWait()
      // Asked for while someone read; the rest is another's at once.
      if (this.isActive && !isStale) this.host.boundary.run(() => this.follow(lease))
      else this.release(lease)
      return
    }
    this.askAtMs = Date.now() + (retryInMs ?? this.patience.nextAskInMs())
    if (retryInMs === null) this.patience.notToldToWait()
    else this.patience.toldToWait(Date.now(), { isCold: status === 'cold' })
  }
}
