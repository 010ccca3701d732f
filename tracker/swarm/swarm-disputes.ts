import type { NodeId } from '../../core/metainfo.ts'
import type { DisputeRecord, SwarmChange, SwarmIdentity } from '../store/store.ts'

/**
 * The pieces of one swarm that nodes disagree about. Until the tracker has settled a dispute itself, only nodes that are
 * not a party to it fetch the piece. It gets a hash again when two of them agree: one alone could be the liar under a
 * second name. Invariant: every change here is in the swarm's change too.
 */

/** How long the parties of a dispute do not get the piece again, so that others fetch it; then anyone may. */
export const DISPUTE_MS = 60_000
/** A node may report one mismatch per swarm in this time, in which it fetches the blob from the registry. */
export const MISMATCH_INTERVAL_MS = 10 * 60_000
/** Nodes that must agree on the hash of a disputed piece. */
export const WITNESSES = 2

/** A hash of a disputed piece from a node that is not a party to the dispute. */
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

  /** @param changing returns the swarm's change, and makes it if there is none */
  constructor(identity: SwarmIdentity, records: readonly DisputeRecord[], changing: () => SwarmChange) {
    this.#identity = identity
    this.#records = [...records]
    this.#changing = changing
  }

  /** The newest dispute about a piece; undefined if there was none. */
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

  /** Pieces that the node does not get: it is a party to a dispute about them, or has already testified. */
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

  /** The tracker found out who was wrong: from now on it accepts anyone's hash of the piece. */
  settle(piece: number, nowMs: number): void {
    const dispute = this.#openDispute(piece, nowMs)
    if (dispute !== undefined) this.add({ ...dispute, kind: 'settled', atMs: nowMs })
  }

  /** How many nodes should fetch the piece at the same time. */
  fetchersOf(piece: number, nowMs: number): number {
    if (this.#openDispute(piece, nowMs) === undefined) return 1
    return Math.max(1, WITNESSES - this.#witnesses(piece).length)
  }

  hasTestified(node: NodeId, piece: number): boolean {
    return this.#witnesses(piece).some(({ publisher }) => publisher === node)
  }

  /**
   * Takes a hash of a piece without one.
   * @returns true if it may be published: the piece is not disputed, or another node found the same hash
   */
  testify(piece: number, { node, pull, hash, nowMs }: Testimony): boolean {
    const dispute = this.#openDispute(piece, nowMs)
    if (dispute === undefined) return true
    // Each node testifies once; a second testimony does not count.
    if (this.hasTestified(node, piece)) return false
    const isAgreed = this.#witnesses(piece).some(({ publishedHash }) => publishedHash.equals(hash))
    if (isAgreed) this.#name(dispute, { node, hash, nowMs })
    else this.add(testimonyOf(dispute, { node, pull, hash: Buffer.from(hash), nowMs }))
    return isAgreed
  }

  /** A note for the operator only: two nodes' testimony bars nobody, because one attacker may own both. */
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

  /** Undefined if the piece is not disputed, or no longer. */
  #openDispute(piece: number, nowMs: number): DisputeRecord | undefined {
    const last = this.#records.findLast(
      (record) => record.piece === piece && (isDispute(record) || record.kind === 'settled'),
    )
    return last !== undefined && isDispute(last) && last.atMs > nowMs - DISPUTE_MS ? last : undefined
  }

  /** Testimonies since the piece's newest dispute. */
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
