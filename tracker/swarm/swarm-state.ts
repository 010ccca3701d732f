import { type NodeId, PIECE_HASH_BYTES, type PieceLayout, pieceLayout } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import type { PieceRun } from '../handout/leases.ts'
import {
  type DisputeRecord,
  emptyChange,
  type SwarmChange,
  type SwarmIdentity,
  type SwarmRecord,
} from '../store/store.ts'
import { PublishedPieces, type Publisher } from './published-pieces.ts'
import { SwarmDisputes } from './swarm-disputes.ts'
import { type LeaseRequest, SwarmLeases, type TakenLease } from './swarm-leases.ts'
import { Unstored } from './unstored.ts'

/** Distinct nodes that must match the whole blob before its hashes are confirmed (docs/swarms.md). */
export const COMPLETIONS_TO_CONFIRM = 2

export type SwarmStatus = 'cold' | 'claimed' | 'confirmed'

export interface Publication extends Publisher {
  lease: string | null
  epoch: number
  firstPiece: number
  /** 32 bytes a piece. */
  hashes: Buffer
  nowMs: number
  leaseMs: number
}

export interface MismatchReport {
  node: NodeId
  epoch: number
  pieces: readonly { piece: number; hash: Buffer }[]
  nowMs: number
}

/**
 * One swarm: pieces and their hashes, completions, disputes, epoch, and its leases. No I/O; the clock is passed in.
 * Invariant: `#change` has every difference from the stored swarm; `takeChange` hands it over to be saved.
 */
export class SwarmState {
  readonly identity: SwarmIdentity
  readonly layout: PieceLayout
  readonly #pieces: PublishedPieces
  readonly leases: SwarmLeases
  readonly #completions: Set<NodeId>
  readonly #disputes: SwarmDisputes
  readonly seen: Unstored
  #epoch: number
  #isConfirmed: boolean
  #hasPiecesSha1: boolean
  #change: SwarmChange | undefined

  /** @param before the swarm as it was here before another tracker changed it: what is not stored goes on */
  constructor(record: SwarmRecord, before?: SwarmState) {
    const { cluster, swarm, registry, digest, bytes } = record
    this.identity = { cluster, swarm, registry, digest, bytes }
    this.layout = pieceLayout(bytes)
    this.#hasPiecesSha1 = record.hasPiecesSha1
    this.#pieces = new PublishedPieces(this.layout.pieceCount)
    this.leases = new SwarmLeases(record.leases, () => this.#changing(), before?.leases)
    this.seen = before?.seen ?? new Unstored()
    this.#completions = new Set(record.completions)
    this.#disputes = new SwarmDisputes(this.identity, record.disputes, () => this.#changing())
    this.#epoch = record.epoch
    this.#isConfirmed = record.isConfirmed
    for (const { piece, hash, node, pull } of record.pieces) this.#pieces.put(piece, hash, { node, pull })
  }

  get epoch(): number {
    return this.#epoch
  }

  get status(): SwarmStatus {
    if (this.#isConfirmed) return 'confirmed'
    return this.publishedCount === this.layout.pieceCount ? 'claimed' : 'cold'
  }

  get publishedCount(): number {
    return this.#pieces.count
  }

  /** Pieces with allocated memory. */
  get piecesHeld(): number {
    return this.#pieces.held
  }

  isPublished(piece: number): boolean {
    return this.#pieces.has(piece)
  }

  /** The registry sent the node the whole blob when it asked for a part. Counts once. */
  sawRangeIgnored(node: NodeId, nowMs: number): void {
    this.seen.rangeWitnesses.saw(node, nowMs)
  }

  /**
   * Whether the registry does not serve parts of the blob. One node's report holds for the time of a lease. If others see
   * the same they confirm it; if nobody does, parts are leased again. Not stored: readers find it out again.
   */
  isRangeIgnored(times: { nowMs: number; leaseMs: number }): boolean {
    return this.seen.rangeWitnesses.agree(times)
  }

  /** Whether the store has SHA-1 hashes for stock clients. */
  get hasPiecesSha1(): boolean {
    return this.#hasPiecesSha1
  }

  /** Call once the store has them. */
  gotPiecesSha1(): void {
    this.#hasPiecesSha1 = true
  }

  /** SHA-256 of pieces [firstPiece, firstPiece + pieces), which must all be published. */
  hashesOf(firstPiece: number, pieces: number): Buffer {
    return this.#pieces.hashesOf(firstPiece, pieces)
  }

  /**
   * Publishes hashes of leased pieces. Repeating a published hash changes nothing and needs no lease. A different hash is
   * a conflict: the pieces are cleared, the epoch rises, and neither side gets them for a while. The first hash of a
   * disputed piece is noted, and published when a second node finds the same.
   * @returns 'conflict' after a conflict; the change must be saved in any case
   * @throws RefusedError EPOCH_STALE, LEASE_UNKNOWN, INVALID_INPUT
   */
  publish(publication: Publication): 'published' | 'conflict' {
    const { firstPiece, hashes, epoch } = publication
    const pieces = hashes.length / PIECE_HASH_BYTES
    if (!Number.isInteger(pieces)) throw new RefusedError('INVALID_INPUT', 'hashes are 32 bytes a piece')
    if (firstPiece + pieces > this.layout.pieceCount)
      throw new RefusedError('INVALID_INPUT', `the blob has ${this.layout.pieceCount} pieces`)
    if (epoch !== this.#epoch) throw new RefusedError('EPOCH_STALE', `the swarm is at epoch ${this.#epoch}`)
    const run = Array.from({ length: pieces }, (_, index) => firstPiece + index)
    const hashOf = (piece: number) =>
      hashes.subarray(offsetOf(piece - firstPiece), offsetOf(piece - firstPiece + 1))
    const differing = run.filter((piece) => !this.#pieces.isHash(piece, hashOf(piece)))
    this.leases.check(publication, differing)
    const disputed = differing.filter((piece) => this.isPublished(piece))
    if (disputed.length > 0) {
      this.#checkDispute(publication, disputed)
      this.#dispute('conflict', publication, disputed, hashOf)
      return 'conflict'
    }
    const { node, lease } = publication
    const newPieces = differing.filter((piece) => !this.#disputes.hasTestified(node, piece)).length
    for (const piece of differing) {
      const hash = hashOf(piece)
      if (this.#disputes.testify(piece, { ...publication, hash }))
        this.#publishPiece(piece, hash, publication)
    }
    for (const piece of run) this.seen.refetches.arrived(piece, lease)
    const isKnown = (piece: number) =>
      this.isPublished(piece) && !this.seen.refetches.isFetching(piece, lease)
    const isTold = (piece: number) => isKnown(piece) || this.#disputes.hasTestified(node, piece)
    this.leases.progress({ ...publication, newPieces }, isTold)
    return 'published'
  }

  /** A refetch lease does not let its holder replace a known hash; like anybody, the holder may report it as wrong. */
  #checkDispute({ lease, nowMs }: Publication, disputed: readonly number[]): void {
    const isRefetch = disputed.some((piece) => this.seen.refetches.isRefetch(piece, lease))
    if (isRefetch || !this.leases.isRunning(lease, nowMs))
      throw new RefusedError('LEASE_UNKNOWN', 'this node has no lease to find these hashes')
  }

  /** Gives up a lease; its rest is free at once. Another node's lease stays. */
  release(lease: string, node: NodeId): void {
    if (this.leases.release(lease, node)) this.seen.refetches.release(lease)
  }

  /** A lease for the asker, by the policy; undefined if there is no work for it now. */
  lease(request: LeaseRequest): TakenLease | undefined {
    const { node, nowMs, awaited = [] } = request
    if (this.status !== 'cold' && awaited.length === 0) return undefined
    const barred = this.#disputes.barredPieces(node, nowMs)
    const isWanted = (piece: number) =>
      !this.isPublished(piece) || this.seen.refetches.isDue(piece, { awaited, nowMs })
    const lease = this.leases.take(request, {
      pieceCount: this.layout.pieceCount,
      pieceBytes: this.layout.pieceBytes,
      isOpen: (piece) => isWanted(piece) && !barred.has(piece),
      fetchersOf: (piece) => this.#disputes.fetchersOf(piece, nowMs),
      answerMs: this.seen.answers.longestMs,
    })
    if (lease) this.seen.refetches.begin(lease, { nowMs, isPublished: (piece) => this.isPublished(piece) })
    return lease
  }

  /** A holder tells how far it has requested its lease. @returns the lease's end; null for a lease that it does not hold */
  requested(lease: string | null, node: NodeId, requestedTo: number): number | null {
    return this.leases.requested(lease, node, requestedTo) ?? null
  }

  /** When to ask again, while others fetch missing hashes or the pieces that the asker waits for; undefined if nobody does. */
  retryInMs(awaited: readonly PieceRun[], now: { nowMs: number; random: number }): number | undefined {
    const isCold = this.status === 'cold'
    const { refetches, retries, answers } = this.seen
    const leaseEndInMs = () => this.leases.nextExpiryInMs(now.nowMs, answers.longestMs)
    const endInMs = isCold ? leaseEndInMs() : refetches.endInMs(awaited, now.nowMs)
    return endInMs === undefined ? undefined : retries.inMs({ nextExpiryInMs: endInMs, isCold, ...now })
  }

  /**
   * The node has the whole blob. A match of the whole digest vouches for the hashes of the epoch under which it was made,
   * and counts only if every hash was known.
   */
  complete(options: { node: NodeId; epoch: number; matched: 'whole' | 'pieces' }): void {
    const isVouching = options.matched === 'whole' && options.epoch === this.#epoch && this.status !== 'cold'
    if (!isVouching || this.#completions.has(options.node)) return
    if (this.#completions.size >= COMPLETIONS_TO_CONFIRM) return
    this.#completions.add(options.node)
    this.#changing().addCompletions.push(options.node)
    if (this.#completions.size >= COMPLETIONS_TO_CONFIRM) {
      this.#isConfirmed = true
      this.#changing().isConfirmed = true
    }
  }

  /**
   * A node found the whole blob wrong and names pieces that differ at the registry. Their hashes are dropped, the epoch
   * rises, and they are leased again, but for a while not to their publishers or the reporter.
   * @throws RefusedError MISMATCH_UNFOUNDED when no named piece differs, MISMATCH_TOO_OFTEN, INVALID_INPUT
   */
  reportMismatch(report: MismatchReport): void {
    // Ignore a report for an older epoch: the answer has the new epoch.
    if (report.epoch !== this.#epoch) return
    const named = new Map(report.pieces.map(({ piece, hash }) => [piece, hash]))
    if ([...named.keys()].some((piece) => piece >= this.layout.pieceCount)) {
      throw new RefusedError('INVALID_INPUT', `the blob has ${this.layout.pieceCount} pieces`)
    }
    const differing = [...named.keys()].filter(
      (piece) => this.isPublished(piece) && !this.#pieces.isHash(piece, named.get(piece)!),
    )
    if (differing.length === 0) {
      throw new RefusedError('MISMATCH_UNFOUNDED', 'no named piece differs from what was published')
    }
    if (this.#disputes.hasReported(report.node, report.nowMs)) {
      throw new RefusedError('MISMATCH_TOO_OFTEN', 'this node reported a mismatch of this swarm lately')
    }
    this.#dispute('mismatch', report, differing, (piece) => named.get(piece)!)
  }

  /** The newest dispute about a piece; undefined if there was none. */
  get newestDispute(): DisputeRecord | undefined {
    return this.#disputes.newest
  }

  /** The tracker found out for itself who was wrong about the piece. */
  settleDispute(piece: number, nowMs: number): void {
    this.#disputes.settle(piece, nowMs)
  }

  /**
   * Drops everything that a liar published, unless a match of the whole digest covers it.
   * @returns true if there was anything to drop, so that the epoch rose
   */
  dropPublisher(node: NodeId, nowMs: number): boolean {
    if (this.#isConfirmed) return false
    const pieces = this.#pieces.publishedBy(node)
    if (pieces.length === 0) return false
    const change = this.#changing()
    for (const piece of pieces) this.#unpublish(piece, change)
    this.#raiseEpoch('conviction', { node, nowMs }, change)
    return true
  }

  /** The change to save, or undefined if nothing changed. */
  takeChange(): SwarmChange | undefined {
    const change = this.#change
    this.#change = undefined
    return change
  }

  #changing(): SwarmChange {
    this.#change ??= emptyChange({ epoch: this.#epoch, isConfirmed: this.#isConfirmed })
    return this.#change
  }

  #publishPiece(piece: number, hash: Buffer, { node, pull }: Publisher): void {
    this.#pieces.put(piece, hash, { node, pull })
    this.#changing().putPieces.push({ piece, hash, node, pull })
  }

  #dispute(
    kind: DisputeRecord['kind'],
    by: { node: NodeId; nowMs: number },
    pieces: readonly number[],
    hashOf: (piece: number) => Buffer,
  ): void {
    const change = this.#changing()
    for (const piece of pieces) {
      this.#disputes.add(this.#disputeOf(kind, by, piece, hashOf(piece)))
      this.#unpublish(piece, change)
    }
    // The reporter's leases must not keep the pieces that it is barred from.
    this.leases.dropCovering(pieces)
    this.#raiseEpoch(kind, by, change)
  }

  #unpublish(piece: number, change: SwarmChange): void {
    this.#pieces.drop(piece)
    change.dropPieces.push(piece)
  }

  #disputeOf(
    kind: DisputeRecord['kind'],
    by: { node: NodeId; nowMs: number },
    piece: number,
    reportedHash: Buffer,
  ): DisputeRecord {
    const publisher = this.#pieces.publisherOf(piece)!
    return {
      kind,
      epoch: this.#epoch,
      piece,
      publisher: publisher.node,
      publisherPull: publisher.pull,
      publishedHash: Buffer.from(this.hashesOf(piece, 1)),
      reporter: by.node,
      reportedHash: Buffer.from(reportedHash),
      atMs: by.nowMs,
    }
  }

  #raiseEpoch(kind: string, by: { node: NodeId; nowMs: number }, change: SwarmChange): void {
    this.#epoch += 1
    this.#isConfirmed = false
    this.#hasPiecesSha1 = false
    this.#completions.clear()
    change.epoch = this.#epoch
    change.isConfirmed = false
    change.dropCompletions = true
    change.addCompletions = []
    const { cluster, swarm } = this.identity
    change.audit.push({
      atMs: by.nowMs,
      actor: `node ${by.node}`,
      action: `epoch raised by ${kind}`,
      cluster,
      target: swarm,
    })
  }
}

function offsetOf(piece: number): number {
  return piece * PIECE_HASH_BYTES
}
