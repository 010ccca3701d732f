import type { NodeId } from '../../core/metainfo.ts'
import type { DisputeRecord, SwarmChange, SwarmIdentity } from '../store/store.ts'

/**
 * Which pieces of one swarm nodes disagree about. While the tracker has not found out itself who is wrong, a disputed
 * piece is fetched by nodes that are no party to it, and has a hash again when two of them found the same: one alone
 * could be the liar's second name. Invariant: every change here is in the swarm's change as well.
 */

/** How long those who disagree about a piece are not given it again, so that others fetch it; then anyone may. */
export const DISPUTE_MS = 60_000
/** A node may report one mismatch per swarm in this time: after one it fetches from the registry for as long. */
export const MISMATCH_INTERVAL_MS = 10 * 60_000
/** Nodes that must have found the same hash of a disputed piece. */
export const WITNESSES = 2

/** A hash of a disputed piece, by a node that is no party to the dispute. */
export interface Testimony {
  node: NodeId
  pull: string
  hash: Buffer
  nowMs: number
}

export class SwarmDisputes {
  readonly #identity: SwarmIdentity
  readonly #records: DisputeRecord[]
  readonly #changing: () => SwarmChange

  /** @param changing the swarm's change, made when there is none yet */
  constructor(identity: SwarmIdentity, records: readonly DisputeRecord[], changing: () => SwarmChange) {
    this.#identity = identity
    this.#records = [...records]
    this.#changing = changing
  }

  /** The newest disagreement about a piece; undefined when there was none. */
  get newest(): DisputeRecord | undefined {
    return this.#records.findLast(isDispute)
  }

  /** Whether the node reported a mismatch lately. */
  hasReported(node: NodeId, nowMs: number): boolean {
    return this.#records.some(
      ({ kind, reporter, atMs }) =>
        kind === 'mismatch' && reporter === node && atMs > nowMs - MISMATCH_INTERVAL_MS,
    )
  }

  /** Pieces that the node is not given: it is a party to a dispute about them, or has said its word. */
  barredPieces(node: NodeId, nowMs: number): Set<number> {
    const barring = this.#records.filter(
      ({ kind, publisher, reporter, atMs }) =>
        kind !== 'settled' && atMs > nowMs - DISPUTE_MS && (publisher === node || reporter === node),
    )
    return new Set(barring.map(({ piece }) => piece))
  }

  add(dispute: DisputeRecord): void {
    this.#records.push(dispute)
    this.#changing().addDisputes.push(dispute)
  }

  /** The tracker found out who was wrong: from now on anyone's hash of the piece will do. */
  settle(piece: number, nowMs: number): void {
    const dispute = this.#openDispute(piece, nowMs)
    if (dispute !== undefined) this.add({ ...dispute, kind: 'settled', atMs: nowMs })
  }

  /** How many nodes are to fetch the piece at the same time. */
  fetchersOf(piece: number, nowMs: number): number {
    if (this.#openDispute(piece, nowMs) === undefined) return 1
    return Math.max(1, WITNESSES - this.#witnesses(piece).length)
  }

  hasTestified(node: NodeId, piece: number): boolean {
    return this.#witnesses(piece).some(({ publisher }) => publisher === node)
  }

  /**
   * Takes a hash of a piece that has none.
   * @returns true when it may be published: the piece is in no dispute, or another node found the same
   */
  testify(piece: number, { node, pull, hash, nowMs }: Testimony): boolean {
    const dispute = this.#openDispute(piece, nowMs)
    if (dispute === undefined) return true
    // One word each: said again, or otherwise, it counts for nothing.
    if (this.hasTestified(node, piece)) return false
    const isAgreed = this.#witnesses(piece).some(({ publishedHash }) => publishedHash.equals(hash))
    if (isAgreed) this.#name(dispute, { node, hash, nowMs })
    else this.add(testimonyOf(dispute, { node, pull, hash: Buffer.from(hash), nowMs }))
    return isAgreed
  }

  /** For the operator: two nodes' word bars nobody, for both may be one attacker's. */
  #name(dispute: DisputeRecord, { node, hash, nowMs }: Omit<Testimony, 'pull'>): void {
    const { publisher, publishedHash, reporter, reportedHash } = dispute
    const parties = [
      { party: publisher, said: publishedHash },
      { party: reporter, said: reportedHash },
    ]
    for (const { party, said } of parties) {
      if (said.equals(hash)) continue
      this.#changing().audit.push({
        atMs: nowMs,
        actor: `node ${node}`,
        action: 'two nodes found another hash than this one',
        cluster: this.#identity.cluster,
        target: party,
      })
    }
  }

  /** Undefined when the piece is not disputed (any more). */
  #openDispute(piece: number, nowMs: number): DisputeRecord | undefined {
    const last = this.#records.findLast(
      (record) => record.piece === piece && (isDispute(record) || record.kind === 'settled'),
    )
    return last !== undefined && isDispute(last) && last.atMs > nowMs - DISPUTE_MS ? last : undefined
  }

  /** What was said since the piece's newest dispute. */
  #witnesses(piece: number): DisputeRecord[] {
    const since = this.#records.findLastIndex((record) => record.piece === piece && isDispute(record))
    return this.#records
      .slice(since + 1)
      .filter((record) => record.piece === piece && record.kind === 'witness')
  }
}

function isDispute({ kind }: DisputeRecord): boolean {
  return kind === 'conflict' || kind === 'mismatch'
}

function testimonyOf({ epoch, piece }: DisputeRecord, { node, pull, hash, nowMs }: Testimony): DisputeRecord {
  return {
    ...{ kind: 'witness', epoch, piece, publisher: node, publisherPull: pull },
    ...{ publishedHash: hash, reporter: node, reportedHash: hash, atMs: nowMs },
  }
}
