import type { NodeId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import { firstFreeRun, type LeasePolicy, type PieceRun } from '../handout/leases.ts'
import type { LeaseRecord, SwarmChange } from '../store/store.ts'

/** Bound of leases of one swarm at a time. */
export const LEASES_PER_SWARM_MAX = 4096
/** Share of a lease's time without progress after which another node may fetch its pieces as well. */
const SLOW_SHARE = 1 / 2

export interface LeaseRequest {
  node: NodeId
  pull: string
  /** The new lease's id. */
  lease: string
  position: number
  nowMs: number
  leaseMs: number
  /** Nodes that lack pieces, the asker included. */
  sharers: number
  policy: LeasePolicy
}

/** Progress under a lease. */
export interface LeaseProgress {
  node: NodeId
  lease: string | null
  nowMs: number
  leaseMs: number
}

interface OpenPieces {
  pieceCount: number
  isOpen: (piece: number) => boolean
}

/**
 * The leases of one swarm: who fetches which of its pieces from the registry. Invariant: every change here is in the
 * swarm's change as well. Leases that ran out stand until someone takes one of their pieces: a slow holder may go on
 * as long as nobody else would do better.
 */
export class SwarmLeases {
  readonly #leases: Map<string, LeaseRecord>
  readonly #changing: () => SwarmChange

  /** @param changing the swarm's change, made when there is none yet */
  constructor(records: readonly LeaseRecord[], changing: () => SwarmChange) {
    this.#leases = new Map(records.map((lease) => [lease.lease, lease]))
    this.#changing = changing
  }

  /** Milliseconds until the first lease may be taken over; 0 when there is none. */
  nextExpiryInMs(nowMs: number): number {
    let soonest = Number.POSITIVE_INFINITY
    for (const lease of this.#leases.values()) soonest = Math.min(soonest, lease.expiresAtMs)
    return soonest === Number.POSITIVE_INFINITY ? 0 : Math.max(0, soonest - nowMs)
  }

  /**
   * A lease for the asker, by the policy; undefined when there is nothing to do for it now.
   * @param isOpen true for pieces that are to be fetched, and that the asker may fetch
   * @param fetchersOf how many nodes are to fetch a piece at the same time
   */
  take(
    request: LeaseRequest,
    { pieceCount, isOpen, fetchersOf = () => 1 }: OpenPieces & { fetchersOf?: (piece: number) => number },
  ): LeaseRecord | undefined {
    const { lease, node, pull, position, nowMs, leaseMs, sharers, policy } = request
    const running = [...this.#leases.values()].filter(({ expiresAtMs }) => expiresAtMs > nowMs)
    if (running.length >= LEASES_PER_SWARM_MAX) return undefined
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
    this.#put(record)
    return record
  }

  /**
   * Near the end: one piece of another node's lease that has made no progress for a while, and that nobody has doubled
   * yet. Of the two, whoever is first publishes it.
   */
  #slowPiece(
    { node, position, nowMs, leaseMs }: LeaseRequest,
    running: readonly LeaseRecord[],
    { pieceCount, isOpen }: OpenPieces,
  ): PieceRun | undefined {
    const holders = new Uint8Array(pieceCount)
    const isSlow = new Uint8Array(pieceCount)
    for (const lease of running) {
      const idleMs = nowMs - (lease.expiresAtMs - leaseMs)
      const slow = lease.node !== node && idleMs > leaseMs * SLOW_SHARE
      for (let piece = lease.firstPiece; piece < lease.firstPiece + lease.pieces; piece += 1) {
        holders[piece]! += 1
        if (slow) isSlow[piece] = 1
      }
    }
    const isFree = (piece: number) => isSlow[piece] === 1 && holders[piece] === 1 && isOpen(piece)
    return firstFreeRun(1)({ pieceCount, position, isFree })
  }

  /** Gives a lease up; its rest is free at once. Another's lease is left alone. */
  release(lease: string, node: NodeId): void {
    if (this.#leases.get(lease)?.node === node) this.#drop(lease)
  }

  /** @throws RefusedError LEASE_UNKNOWN unless the node's lease covers all of `pieces` */
  check({ lease, node }: Pick<LeaseProgress, 'lease' | 'node'>, pieces: readonly number[]): void {
    if (pieces.length === 0) return
    const own = this.#ownLease(lease, node)
    if (own === undefined || !pieces.every((piece) => covers(own, piece))) {
      throw new RefusedError('LEASE_UNKNOWN', 'this node has no lease for these pieces')
    }
  }

  /** Every publication keeps the lease alive; the last one ends it. */
  progress({ lease, node, nowMs, leaseMs }: LeaseProgress, isPublished: (piece: number) => boolean): void {
    const own = this.#ownLease(lease, node)
    if (own === undefined) return
    const end = own.firstPiece + own.pieces
    let piece = own.firstPiece
    while (piece < end && isPublished(piece)) piece += 1
    if (piece === end) this.#drop(own.lease)
    else this.#put({ ...own, expiresAtMs: nowMs + leaseMs })
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
    const change = this.#changing()
    change.putLeases = change.putLeases.filter((other) => other.lease !== lease)
    change.dropLeases.push(lease)
  }
}

function covers({ firstPiece, pieces }: LeaseRecord, piece: number): boolean {
  return piece >= firstPiece && piece < firstPiece + pieces
}
