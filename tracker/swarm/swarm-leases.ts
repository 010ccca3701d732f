import type { NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import { firstFreeRun, type LeasePolicy, type PieceRun, RUN_PIECES_MAX } from '../handout/leases.ts'
import type { LeaseRecord, SwarmChange } from '../store/store.ts'

/** Bound of the leases of one swarm. */
export const LEASES_PER_SWARM_MAX = 4096
/** Live leases of one node in a swarm: a client follows two, and may take the next two before those have ended. */
export const LEASES_PER_NODE_MAX = 4
/**
 * A lease longer than a share belongs to a reader without ranges. It must publish this many pieces in a lease's time on
 * average: 3.2 MiB/s with the largest pieces and the usual 10 s.
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
  /** Nodes that lack pieces, including the asker. */
  sharers: number
  policy: LeasePolicy
  /** Pieces that did not arrive although the asker waited for them. */
  awaited?: readonly PieceRun[]
}

/** Progress under a lease. */
export interface LeaseProgress {
  node: NodeId
  lease: string | null
  /** Pieces that nobody, or not this node, had reported before. */
  newPieces: number
  nowMs: number
  leaseMs: number
}

interface OpenPieces {
  pieceCount: number
  isOpen: (piece: number) => boolean
}

/**
 * The leases of one swarm: who fetches which of its pieces from the registry. Invariant: every change here is in the
 * swarm's change too. An expired lease stands until someone takes one of its pieces: a slow holder may continue while
 * nobody else would be faster.
 */
export class SwarmLeases {
  readonly #leases: Map<string, LeaseRecord>
  readonly #changing: () => SwarmChange
  /** Progress of leases since they were taken, or since this tracker knows of them. Not stored. */
  readonly #paces = new Map<string, { sinceMs: number; pieces: number }>()

  /** @param changing returns the swarm's change, and makes it if there is none */
  constructor(records: readonly LeaseRecord[], changing: () => SwarmChange) {
    this.#leases = new Map(records.map((lease) => [lease.lease, lease]))
    this.#changing = changing
  }

  /**
   * Milliseconds until the first running lease may be taken over; 0 if none runs. An expired lease that still stands has
   * only pieces that others fetch too, or the asker would have got them.
   */
  nextExpiryInMs(nowMs: number): number {
    let soonestMs = Number.POSITIVE_INFINITY
    for (const { expiresAtMs } of this.#leases.values())
      if (expiresAtMs > nowMs) soonestMs = Math.min(soonestMs, expiresAtMs)
    return soonestMs === Number.POSITIVE_INFINITY ? 0 : soonestMs - nowMs
  }

  /**
   * A lease for the asker, by the policy; undefined if there is no work for it now.
   * @param isOpen true for pieces that must be fetched and that the asker may fetch
   * @param fetchersOf how many nodes should fetch a piece at the same time
   */
  take(
    request: LeaseRequest,
    { pieceCount, isOpen, fetchersOf = () => 1 }: OpenPieces & { fetchersOf?: (piece: number) => number },
  ): LeaseRecord | undefined {
    const { lease, node, pull, position, nowMs, leaseMs, sharers, policy } = request
    const running = [...this.#leases.values()].filter(({ expiresAtMs }) => expiresAtMs > nowMs)
    if (running.length >= LEASES_PER_SWARM_MAX) return undefined
    if (running.filter((held) => held.node === node).length >= LEASES_PER_NODE_MAX) return undefined
    const holders = new Uint16Array(pieceCount)
    const isOwn = new Uint8Array(pieceCount)
    for (const held of running) {
      for (let piece = held.firstPiece; piece < held.firstPiece + held.pieces; piece += 1) {
        holders[piece]! += 1
        if (held.node === node) isOwn[piece] = 1
      }
    }
    const isFree = (piece: number) =>
      (holders[piece] === 0 || (isOwn[piece] === 0 && holders[piece]! < fetchersOf(piece))) && isOpen(piece)
    const question = { pieceCount, position, isFree, sharers, running: running.length }
    const run = policy(question) ?? this.#slowPiece(request, running, { pieceCount, isOpen })
    if (run === undefined) return undefined
    this.#dropExpired(run, nowMs)
    const record = { lease, node, pull, ...run, expiresAtMs: nowMs + leaseMs }
    this.#paces.set(lease, { sinceMs: nowMs, pieces: 0 })
    this.#put(record)
    return record
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
      for (let piece = lease.firstPiece; piece < lease.firstPiece + lease.pieces; piece += 1) {
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
    if (lease.pieces <= RUN_PIECES_MAX) return false
    const { sinceMs, pieces } = this.#paceOf(lease, movedAtMs)
    const elapsed = (nowMs - sinceMs) / leaseMs
    return elapsed > 1 && pieces < elapsed * READER_PIECES_MIN
  }

  #paceOf({ lease }: LeaseRecord, movedAtMs: number): { sinceMs: number; pieces: number } {
    const pace = this.#paces.get(lease) ?? { sinceMs: movedAtMs, pieces: 0 }
    this.#paces.set(lease, pace)
    return pace
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
    if (own === undefined || !pieces.every((piece) => covers(own, piece))) {
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
    const end = own.firstPiece + own.pieces
    let piece = own.firstPiece
    while (piece < end && isPublished(piece)) piece += 1
    if (piece === end) this.#drop(own.lease)
    else if (newPieces > 0) {
      this.#paceOf(own, own.expiresAtMs - leaseMs).pieces += newPieces
      this.#put({ ...own, expiresAtMs: nowMs + leaseMs })
    }
  }

  /** Drops the leases that cover any of `pieces`. */
  dropCovering(pieces: readonly number[]): void {
    for (const lease of [...this.#leases.values()]) {
      if (pieces.some((piece) => covers(lease, piece))) this.#drop(lease.lease)
    }
  }

  #ownLease(lease: string | null, node: NodeId): LeaseRecord | undefined {
    const found = lease === null ? undefined : this.#leases.get(lease)
    return found?.node === node ? found : undefined
  }

  #dropExpired(run: PieceRun, nowMs: number): void {
    for (const lease of [...this.#leases.values()]) {
      const isOverlapping =
        lease.firstPiece < run.firstPiece + run.pieces && run.firstPiece < lease.firstPiece + lease.pieces
      if (isOverlapping && lease.expiresAtMs <= nowMs) this.#drop(lease.lease)
    }
  }

  #put(lease: LeaseRecord): void {
    this.#leases.set(lease.lease, lease)
    const change = this.#changing()
    change.putLeases = [...change.putLeases.filter((other) => other.lease !== lease.lease), lease]
  }

  #drop(lease: string): void {
    this.#leases.delete(lease)
    this.#paces.delete(lease)
    const change = this.#changing()
    change.putLeases = change.putLeases.filter((other) => other.lease !== lease)
    change.dropLeases.push(lease)
  }
}

function covers({ firstPiece, pieces }: PieceRun, piece: number): boolean {
  return piece >= firstPiece && piece < firstPiece + pieces
}
