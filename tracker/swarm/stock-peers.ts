import { BoundedMap } from '../../core/bounded-map.ts'
import type { InfoHash, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'

/** How often a stock client is asked to announce. */
export const ANNOUNCE_INTERVAL_SECONDS = 120
/** A stock client that missed two announces is forgotten. */
export const STOCK_PEER_MS = 2.5 * ANNOUNCE_INTERVAL_SECONDS * 1000
/** Bound of stock clients in one swarm. */
export const STOCK_PEERS_PER_SWARM_MAX = 64
/** Bound of stock clients in one answer: Shoal nodes are the better peers, and come first. */
export const STOCK_PEERS_HANDED_OUT_MAX = 4
/** Bound of swarms with stock clients in a cluster; about 300 bytes per client. */
export const STOCK_SWARMS_MAX = 4096

/** A stock BitTorrent client, as seen in its certificate, connection and announce. */
export interface StockPeer {
  node: NodeId
  address: string
  port: number
  isSeed: boolean
  /** The alias under which it knows the swarm. */
  infoHash: InfoHash
}

interface Announced extends StockPeer {
  expiresAtMs: number
}

/**
 * The stock clients of one cluster, in memory only. Invariant: in each swarm they are in the order of their last
 * announce, so that the first to expire come first; no swarm is empty.
 */
export class StockPeers {
  readonly #swarms = new BoundedMap<SwarmId, BoundedMap<NodeId, Announced>>(STOCK_SWARMS_MAX)

  announce(swarm: SwarmId, peer: StockPeer, nowMs: number): void {
    const peers = this.#live(swarm, nowMs) ?? new BoundedMap<NodeId, Announced>(STOCK_PEERS_PER_SWARM_MAX)
    peers.set(peer.node, { ...peer, expiresAtMs: nowMs + STOCK_PEER_MS })
    this.#swarms.set(swarm, peers)
  }

  /** The client leaves the swarm. */
  stop(swarm: SwarmId, node: NodeId): void {
    const peers = this.#swarms.get(swarm)
    peers?.delete(node)
    if (peers?.size === 0) this.#swarms.delete(swarm)
  }

  forget(node: NodeId): void {
    for (const swarm of [...this.#swarms.keys()]) this.stop(swarm, node)
  }

  /** The clients that announced last, seeds first, without the asker. */
  choose(swarm: SwarmId, { asker, nowMs }: { asker: NodeId; nowMs: number }): Peer[] {
    return [...(this.#live(swarm, nowMs)?.values() ?? [])]
      .filter(({ node }) => node !== asker)
      .reverse()
      .sort((a, b) => Number(b.isSeed) - Number(a.isSeed))
      .slice(0, STOCK_PEERS_HANDED_OUT_MAX)
      .map(({ expiresAtMs: _, ...peer }) => peer)
  }

  count(swarm: SwarmId, nowMs: number): { seeds: number; leechers: number } {
    const peers = [...(this.#live(swarm, nowMs)?.values() ?? [])]
    const seeds = peers.filter(({ isSeed }) => isSeed).length
    return { seeds, leechers: peers.length - seeds }
  }

  #live(swarm: SwarmId, nowMs: number): BoundedMap<NodeId, Announced> | undefined {
    for (const { node, expiresAtMs } of this.#swarms.get(swarm)?.values() ?? []) {
      if (expiresAtMs > nowMs) break
      this.stop(swarm, node)
    }
    return this.#swarms.get(swarm)
  }
}
