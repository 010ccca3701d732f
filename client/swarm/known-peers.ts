import type { NodeId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'

/** Remembered peers of one swarm; the tracker hands out about 30 at a time. */
const KNOWN_MAX = 200
/** Pause after a first failed dial; doubled after each further one. */
const RETRY_MS = 1_000
/** Longest pause: a node that restarts is found again within this time. */
const RETRY_MS_MAX = 30_000
/**
 * A connection that was open for this time and ends says nothing against its peer, which may have renewed its certificate or
 * withdrawn a key: the peer is dialled at once.
 */
const STEADY_MS = 2_000
/** A peer that was lost is about to be dialled, but for one whose connections ended soon more often than this. */
const LOSSES_EXCUSED = 1
/** Pause after a connection that ended sooner; doubled after each further one, up to RETRY_MS. */
const LOST_MS = 250

interface Known {
  peer: Peer
  failures: number
  tryAtMs: number
  connectedAtMs: number
  /** Connections in a row that ended soon after they had opened. */
  losses: number
  /** Its connection ended, and it was not dialled since. */
  isLost: boolean
}

/**
 * The peers that a swarm may dial, and when to dial again after a failure. Peers that lied are never dialled again.
 */
export class KnownPeers {
  readonly #known = new Map<NodeId, Known>()
  readonly #banned = new Set<NodeId>()

  add(peers: readonly Peer[]): void {
    for (const peer of peers) {
      const before = this.#known.get(peer.node)
      if (before) before.peer = peer
      else if (this.#known.size < KNOWN_MAX) this.#known.set(peer.node, newlyKnown(peer))
    }
  }

  get(node: NodeId): Peer | undefined {
    return this.#known.get(node)?.peer
  }

  ban(node: NodeId): void {
    this.#banned.add(node)
    this.#known.delete(node)
  }

  isBanned(node: NodeId): boolean {
    return this.#banned.has(node)
  }

  /** The other half of the places is for those that the tracker names. */
  get isHalfFull(): boolean {
    return this.#known.size >= KNOWN_MAX / 2
  }

  get size(): number {
    return this.#known.size
  }

  /**
   * The peers to dial now, at most `count`. First those that cost no connection, last those that the tracker could not
   * reach; among these the ones with the fewest failures first.
   */
  due(
    nowMs: number,
    count: number,
    { isUnwanted, isLinked }: { isUnwanted(peer: Peer): boolean; isLinked(node: NodeId): boolean },
  ): Peer[] {
    const rank = ({ node, dialsOnly }: Peer) => (isLinked(node) ? 0 : dialsOnly ? 2 : 1)
    return [...this.#known.values()]
      .filter(({ peer, tryAtMs }) => tryAtMs <= nowMs && !this.#banned.has(peer.node) && !isUnwanted(peer))
      .sort((a, b) => rank(a.peer) - rank(b.peer) || a.failures - b.failures)
      .slice(0, Math.max(0, count))
      .map(({ peer }) => peer)
  }

  /** A dial begins, or this side ended a connection: the pause grows until a dial succeeds. */
  postpone(node: NodeId, nowMs: number): void {
    const known = this.#known.get(node)
    if (!known) return
    known.isLost = false
    known.failures += 1
    known.tryAtMs = nowMs + Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (known.failures - 1))
  }

  connected(node: NodeId, nowMs: number): void {
    const known = this.#known.get(node)
    if (!known) return
    known.failures = 0
    known.isLost = false
    known.connectedAtMs = nowMs
  }

  /** The peer showed that it runs: it is due now. @returns undefined unless it is known */
  returned(node: NodeId, nowMs: number): Peer | undefined {
    const known = this.#known.get(node)
    if (known) known.tryAtMs = Math.min(known.tryAtMs, nowMs)
    return known?.peer
  }

  /** A connection ended without a fault of the peer's. */
  lost(node: NodeId, nowMs: number): void {
    const known = this.#known.get(node)
    if (!known) return
    known.isLost = true
    known.losses = nowMs - known.connectedAtMs >= STEADY_MS ? 0 : known.losses + 1
    const pauseMs = known.losses === 0 ? 0 : LOST_MS * 2 ** (known.losses - 1)
    known.tryAtMs = nowMs + Math.min(RETRY_MS, pauseMs)
  }

  /** The peers whose connections have just ended, and that will be dialled in a moment. */
  get lostNow(): Peer[] {
    const lost = [...this.#known.values()].filter(({ isLost, losses }) => isLost && losses <= LOSSES_EXCUSED)
    return lost.map(({ peer }) => peer)
  }
}

function newlyKnown(peer: Peer): Known {
  return { peer, failures: 0, tryAtMs: 0, connectedAtMs: 0, losses: 0, isLost: false }
}
