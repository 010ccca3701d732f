import type { NodeId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'

/** Remembered peers of one swarm; the tracker hands out about 30 at a time. */
const KNOWN_MAX = 200
/** Pause after a first failed dial; doubled after each further one. */
const RETRY_MS = 1_000
/** Longest pause: a node that restarts is found again within this time. */
const RETRY_MS_MAX = 30_000

interface Known {
  peer: Peer
  failures: number
  tryAtMs: number
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
      else if (this.#known.size < KNOWN_MAX) this.#known.set(peer.node, { peer, failures: 0, tryAtMs: 0 })
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

  /** A dial begins, or a connection ended: the pause grows until a dial succeeds. */
  postpone(node: NodeId, nowMs: number): void {
    const known = this.#known.get(node)
    if (!known) return
    known.failures += 1
    known.tryAtMs = nowMs + Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (known.failures - 1))
  }

  connected(node: NodeId): void {
    const known = this.#known.get(node)
    if (known) known.failures = 0
  }
}
