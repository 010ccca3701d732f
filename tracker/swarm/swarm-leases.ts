import type { NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import { lateAfterMs, piecesKept, usualPieceMs } from '../handout/late-holders.ts'
import { firstFreeRun, type LeasePolicy, type LeaseRun, type PieceRun, runsOf } from '../handout/leases.ts'
import { claimedEnd, endOf, type LeaseTerms, termsOf } from '../store/lease-terms.ts'
import type { LeaseRecord, SwarmChange } from '../store/store.ts'

/** Bound of the leases of one swarm. */
export const LEASES_PER_SWARM_MAX = 4096
/** Live leases of one node in a swarm: a client takes the next one while the last requests of two others are under way. */
export const LEASES_PER_NODE_MAX = 4
/**
 * A holder may have requested this many pieces for each that it published, beside those of its first requests: requests
 * double. What it claims beyond that goes to others when nothing else is left: its publications may be slow, or it lies.
 */
export const REQUESTED_PER_PUBLISHED_MAX = 3
/**
 * A reader without ranges must publish this many pieces in a lease's time on average: 3.2 MiB/s with the largest pieces and
 * the usual 10 s.
 */
const READER_PIECES_MIN = 8
/** Share of a lease's time without progress after which another node may fetch its pieces too. */
const SLOW_SHARE = 1 / 2

export interface LeaseRequest {
  node: NodeId
  pull: string
  /** The new lease's id. */
  lease: string
  position: number
  nowMs: number
  leaseMs: number
  policy: LeasePolicy
  /** Pieces that did not arrive although the asker waited for them. */
  awaited?: readonly PieceRun[]
}

/** A new lease, of which its holder requests the first pieces at once. */
export type TakenLease = LeaseRecord & { firstPieces: number }

/** Progress under a lease. */
export interface LeaseProgress {
  node: NodeId
  lease: string | null
  /** Pieces that nobody, or not this node, had reported before. */
  newPieces: number
  nowMs: number
  leaseMs: number
}

interface Handout extends OpenPieces {
  pieceBytes: number
  fetchersOf?: (piece: number) => number
  answerMs?: number
}

interface OpenPieces {
  pieceCount: number
  isOpen: (piece: number) => boolean
}

/**
 * The leases of one swarm: who fetches which of its pieces from the registry. Invariant: every change here is in the
 * swarm's change too. Leases only shrink: a newcomer gets pieces of a lease that its holder has not requested. An expired
 * lease stands until someone takes one of its pieces: a slow holder may continue while nobody else would be faster.
 */
export class SwarmLeases {
  readonly #leases: Map<string, LeaseRecord>
  readonly #changing: () => SwarmChange
  readonly #terms = new Map<string, LeaseTerms>()
  /** The time that a piece took lately, whoever fetched it. */
  #usualMs: number | undefined

  /**
   * @param changing returns the swarm's change, and makes it if there is none
   * @param before the same swarm's leases as this tracker knew them before another tracker changed them
   */
  constructor(records: readonly LeaseRecord[], changing: () => SwarmChange, before?: SwarmLeases) {
    this.#leases = new Map(records.map((lease) => [lease.lease, lease]))
    for (const { lease, terms } of records) if (terms !== undefined) this.#terms.set(lease, { ...terms })
    if (before !== undefined) this.#usualMs = before.#usualMs
    this.#changing = changing
  }

  /**
   * Milliseconds until the first running lease may be late or taken over; 0 if none runs. An expired lease that still
   * stands has only pieces that others fetch too, or the asker would have got them. So has one that is late.
   */
  nextExpiryInMs(nowMs: number, answerMs = 0): number {
    const usualMs = this.#usualMs ?? Number.POSITIVE_INFINITY
    let soonestMs = Number.POSITIVE_INFINITY
    for (const { lease, expiresAtMs } of this.#leases.values()) {
      if (expiresAtMs <= nowMs) continue
      const { movedAtMs = nowMs, begun } = this.#terms.get(lease) ?? {}
      const lateAtMs = movedAtMs + lateAfterMs(usualMs, { hasBegun: begun !== undefined }) + answerMs
      soonestMs = Math.min(soonestMs, expiresAtMs, lateAtMs > nowMs ? lateAtMs : expiresAtMs)
    }
    return soonestMs === Number.POSITIVE_INFINITY ? 0 : soonestMs - nowMs
  }

  /**
   * A lease for the asker, by the policy; undefined if there is no work for it now.
   * @param isOpen true for pieces that must be fetched and that the asker may fetch
   * @param fetchersOf how many nodes should fetch a piece at the same time
   * @param answerMs how long this tracker's answers take: nobody is late for that
   */
  take(
    request: LeaseRequest,
    { pieceCount, pieceBytes, isOpen, fetchersOf = () => 1, answerMs = 0 }: Handout,
  ): TakenLease | undefined {
    const { lease, node, pull, position, nowMs, leaseMs, policy } = request
    const isRunning = ({ expiresAtMs }: LeaseRecord) => expiresAtMs > nowMs
    if ([...this.#leases.values()].filter(isRunning).length >= LEASES_PER_SWARM_MAX) return undefined
    this.#endUnrequested(node, isOpen)
    const running = [...this.#leases.values()].filter(isRunning)
    if (running.filter((held) => held.node === node).length >= LEASES_PER_NODE_MAX) return undefined
    const holders = new Uint16Array(pieceCount)
    const isOwn = new Uint8Array(pieceCount)
    for (const held of running) {
      for (let piece = held.firstPiece; piece < endOf(held); piece += 1) {
        holders[piece]! += 1
        if (held.node === node) isOwn[piece] = 1
      }
    }
    const isFree = (piece: number) =>
      (holders[piece] === 0 || (isOwn[piece] === 0 && holders[piece]! < fetchersOf(piece))) && isOpen(piece)
    const others = running.filter((held) => held.node !== node)
    const isLent = (piece: number) => holders[piece] === 1 && isOpen(piece)
    const unrequested = (endIn: (terms: LeaseTerms) => number) =>
      others.flatMap((held) => [...runsOf(endIn(this.#termsOf(held, nowMs)), endOf(held), isLent)])
    const question = {
      ...{ pieceCount, pieceBytes, position, isFree, isOpen },
      late: others.flatMap((held) => {
        // A node publishes what it has of one lease at a time.
        const calls = others.filter((other) => other.node === held.node).length
        return [...this.#lateOf(held, { nowMs, answerMs: answerMs * calls }, isLent)]
      }),
      unrequested: unrequested(claimedEnd),
      holders: new Set(others.map((held) => held.node)).size,
      readers: running.filter((held) => this.#terms.get(held.lease)?.isReader).length,
    }
    const run: LeaseRun | undefined =
      policy(question) ??
      policy({ ...question, unrequested: unrequested(({ requestedTo }) => requestedTo) }) ??
      this.#slowPiece({ ...request, nowMs: nowMs - answerMs }, running, { pieceCount, isOpen })
    if (run === undefined) return undefined
    const { firstPiece, pieces } = run
    this.#dropExpired(run, nowMs)
    this.#endBefore(run, others)
    const record = { lease, node, pull, firstPiece, pieces, expiresAtMs: nowMs + leaseMs }
    this.#terms.set(lease, termsOf(run, nowMs))
    this.#put(record)
    return { ...record, firstPieces: run.firstPieces ?? pieces }
  }

  /** A node that asks for more wants nothing else of the leases that it holds (an older one does not say what it requests). */
  #endUnrequested(node: NodeId, isOpen: (piece: number) => boolean): void {
    for (const held of [...this.#leases.values()]) {
      const terms = this.#terms.get(held.lease)
      const end = terms && claimedEnd(terms)
      if (held.node === node && end !== undefined && end < endOf(held)) this.#shrink(held, end, isOpen)
    }
  }

  /** Of a late holder's lease all that it will not deliver soon. */
  *#lateOf(
    held: LeaseRecord,
    { nowMs, answerMs }: { nowMs: number; answerMs: number },
    isLent: (piece: number) => boolean,
  ): Generator<PieceRun> {
    const { movedAtMs, pieces, isReader, begun } = this.#termsOf(held, nowMs)
    if (isReader) return
    const { atMs, pieces: atOnce } = begun ?? { atMs: movedAtMs, pieces }
    const pace = { pieces: pieces - atOnce, tookMs: movedAtMs - atMs, idleMs: nowMs - movedAtMs }
    let kept = piecesKept({ ...pace, hasBegun: begun !== undefined, usualMs: this.#usualMs, answerMs })
    let from = held.firstPiece
    for (; from < endOf(held) && kept > 0; from += 1) if (isLent(from)) kept -= 1
    yield* runsOf(from, endOf(held), isLent)
  }

  /** Leases end where a newcomer takes what their holders have not requested. */
  #endBefore({ firstPiece, pieces, isReader, isLate }: LeaseRun, others: readonly LeaseRecord[]): void {
    if (isReader) return
    for (const held of others) {
      const terms = this.#terms.get(held.lease)
      const isOverlapping = held.firstPiece < firstPiece + pieces && firstPiece < endOf(held)
      const isOver = isLate || (terms?.requestedTo ?? endOf(held)) <= firstPiece
      if (!isOverlapping || !isOver) continue
      if (terms && isLate) Object.assign(terms, { isLate, requestedTo: firstPiece, claimedTo: firstPiece })
      this.#shrink(held, firstPiece, () => true)
    }
  }

  #shrink(held: LeaseRecord, end: number, isOpen: (piece: number) => boolean): void {
    const shrunk = { ...held, pieces: end - held.firstPiece }
    let piece = held.firstPiece
    while (piece < end && !isOpen(piece)) piece += 1
    if (piece === end) this.#drop(held.lease)
    else this.#put(shrunk)
  }

  /**
   * Near the end: one piece of another node's lease that has made no progress for a while, and that nobody else fetches
   * yet. The first of the two to finish publishes it.
   */
  #slowPiece(
    { node, position, nowMs, leaseMs }: LeaseRequest,
    running: readonly LeaseRecord[],
    { pieceCount, isOpen }: OpenPieces,
  ): PieceRun | undefined {
    const holders = new Uint8Array(pieceCount)
    const isSlow = new Uint8Array(pieceCount)
    for (const lease of running) {
      const slow = lease.node !== node && this.#isSlow(lease, nowMs, leaseMs)
      for (let piece = lease.firstPiece; piece < endOf(lease); piece += 1) {
        holders[piece]! += 1
        if (slow) isSlow[piece] = 1
      }
    }
    const isFree = (piece: number) => isSlow[piece] === 1 && holders[piece] === 1 && isOpen(piece)
    return firstFreeRun(1)({ pieceCount, position, isFree })
  }

  /** No progress for a while, or a reader's lease whose progress is too slow to wait for. */
  #isSlow(lease: LeaseRecord, nowMs: number, leaseMs: number): boolean {
    const movedAtMs = lease.expiresAtMs - leaseMs
    if (nowMs - movedAtMs > leaseMs * SLOW_SHARE) return true
    const { sinceMs, pieces, isReader } = this.#termsOf(lease, movedAtMs)
    if (!isReader) return false
    const elapsed = (nowMs - sinceMs) / leaseMs
    return elapsed > 1 && pieces < elapsed * READER_PIECES_MIN
  }

  /** Of a lease from before this tracker started nobody knows what is requested: all of it may be. */
  #termsOf(lease: LeaseRecord, movedAtMs: number): LeaseTerms {
    const terms = this.#terms.get(lease.lease) ?? termsOf(lease, movedAtMs)
    this.#terms.set(lease.lease, terms)
    return terms
  }

  /** The running leases, and for how long nothing was published of each. */
  running(nowMs: number): { lease: string; node: NodeId; idleMs: number }[] {
    const running = [...this.#leases.values()].filter(({ expiresAtMs }) => expiresAtMs > nowMs)
    return running.map((held) => ({
      ...held,
      idleMs: nowMs - (this.#terms.get(held.lease)?.movedAtMs ?? nowMs),
    }))
  }

  isRunning(lease: string | null, nowMs: number): boolean {
    return lease !== null && (this.#leases.get(lease)?.expiresAtMs ?? 0) > nowMs
  }

  /** Gives up a lease; its rest is free at once. @returns false for another node's lease, which stays */
  release(lease: string, node: NodeId): boolean {
    if (this.#leases.get(lease)?.node !== node) return false
    this.#drop(lease)
    return true
  }

  /** @throws RefusedError LEASE_UNKNOWN unless the node's lease covers all of `pieces` */
  check({ lease, node }: Pick<LeaseProgress, 'lease' | 'node'>, pieces: readonly number[]): void {
    if (pieces.length === 0) return
    const own = this.#ownLease(lease, node)
    const end = own && (this.#terms.get(own.lease)?.grantedTo ?? endOf(own))
    if (own === undefined || !pieces.every((piece) => piece >= own.firstPiece && piece < end!)) {
      throw new RefusedError('LEASE_UNKNOWN', 'this node has no lease for these pieces')
    }
  }

  /** Only new pieces keep the lease alive; its last piece ends it. */
  progress(
    { lease, node, newPieces, nowMs, leaseMs }: LeaseProgress,
    isPublished: (piece: number) => boolean,
  ): void {
    const own = this.#ownLease(lease, node)
    if (own === undefined) return
    const terms = this.#termsOf(own, own.expiresAtMs - leaseMs)
    if (newPieces > 0) {
      this.#usualMs = usualPieceMs(this.#usualMs, nowMs - terms.movedAtMs, newPieces)
      terms.movedAtMs = nowMs
      terms.pieces += newPieces
      terms.begun ??= { atMs: nowMs, pieces: newPieces }
    }
    // What was requested beyond the end is still to come.
    const end = Math.max(endOf(own), Math.min(terms.requestedTo, terms.grantedTo))
    let piece = own.firstPiece
    while (piece < end && isPublished(piece)) piece += 1
    if (piece === end) this.#drop(own.lease)
    else if (newPieces > 0) this.#put({ ...own, expiresAtMs: nowMs + leaseMs })
  }

  /**
   * The holder has requested pieces up to `requestedTo`, or is about to.
   * @returns the lease's present end; undefined for a lease that the node does not hold
   */
  requested(lease: string | null, node: NodeId, requestedTo: number): number | undefined {
    const own = this.#ownLease(lease, node)
    if (own === undefined) return undefined
    const terms = this.#termsOf(own, own.expiresAtMs)
    const most = own.firstPiece + terms.firstPieces + REQUESTED_PER_PUBLISHED_MAX * terms.pieces
    const claimed = Math.min(requestedTo, terms.grantedTo)
    if (!terms.isLate && (claimed > claimedEnd(terms) || Math.min(claimed, most) > terms.requestedTo)) {
      terms.requestedTo = Math.max(terms.requestedTo, Math.min(claimed, most))
      terms.claimedTo = Math.max(claimedEnd(terms), claimed)
      this.#put(own)
    }
    return endOf(own)
  }

  /** Drops the leases that cover any of `pieces`. */
  dropCovering(pieces: readonly number[]): void {
    for (const lease of [...this.#leases.values()]) {
      const isCovered = (piece: number) => piece >= lease.firstPiece && piece < endOf(lease)
      if (pieces.some(isCovered)) this.#drop(lease.lease)
    }
  }

  #ownLease(lease: string | null, node: NodeId): LeaseRecord | undefined {
    const found = lease === null ? undefined : this.#leases.get(lease)
    return found?.node === node ? found : undefined
  }

  #dropExpired(run: PieceRun, nowMs: number): void {
    for (const lease of [...this.#leases.values()]) {
      const isOverlapping = lease.firstPiece < run.firstPiece + run.pieces && run.firstPiece < endOf(lease)
      if (isOverlapping && lease.expiresAtMs <= nowMs) this.#drop(lease.lease)
    }
  }

  #put({ terms: _, ...record }: LeaseRecord): void {
    const terms = this.#terms.get(record.lease)
    const lease = terms === undefined ? record : { ...record, terms: { ...terms } }
    this.#leases.set(lease.lease, lease)
    const change = this.#changing()
    change.putLeases = [...change.putLeases.filter((other) => other.lease !== lease.lease), lease]
  }

  #drop(lease: string): void {
    this.#leases.delete(lease)
    this.#terms.delete(lease)
    const change = this.#changing()
    change.putLeases = change.putLeases.filter((other) => other.lease !== lease)
    change.dropLeases.push(lease)
  }
}
