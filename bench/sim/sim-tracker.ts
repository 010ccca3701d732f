import type { NodeId } from '../../core/metainfo.ts'
import { type LeasePolicy, retryInMs } from '../../tracker/handout/leases.ts'
import { choosePeers, PEERS_HANDED_OUT_MAX, type PeerCandidate } from '../../tracker/handout/peers.ts'
import type { LeaseRecord } from '../../tracker/store/store.ts'
import { SwarmLeases } from '../../tracker/swarm/swarm-leases.ts'

/** The tracker's default for `leaseSeconds`. */
export const LEASE_MS = 10_000

interface Candidate extends PeerCandidate {
  node: number
}

export interface SimTrackerOptions {
  pieceCount: number
  policy: LeasePolicy
  random(): number
}

/** The tracker's own policies and book of leases, around the state of one simulated swarm. */
export class SimTracker {
  requests = 0
  private readonly options: SimTrackerOptions
  private readonly leases = new SwarmLeases([], () => ({ putLeases: [], dropLeases: [] }) as never)
  private readonly published: Uint8Array
  private readonly candidates = new Map<number, Candidate>()
  private readonly seeds: Candidate[] = []
  private readonly leechers: Candidate[] = []
  private leaseNumber = 0

  constructor(options: SimTrackerOptions) {
    this.options = options
    this.published = new Uint8Array(options.pieceCount)
  }

  join(node: number): void {
    const candidate = { node, handouts: 0 }
    this.candidates.set(node, candidate)
    this.leechers.push(candidate)
  }

  completed(node: number): void {
    const candidate = this.candidates.get(node)!
    remove(this.leechers, candidate)
    this.seeds.push(candidate)
  }

  /** The node has been silent for too long. */
  forget(node: number): void {
    const candidate = this.candidates.get(node)!
    remove(this.leechers, candidate)
    remove(this.seeds, candidate)
  }

  heartbeat(node: number): void {
    this.candidates.get(node)!.handouts = 0
  }

  peersFor(asker: number): number[] {
    const { seeds, leechers } = this
    const question = { seeds, leechers, peersMax: PEERS_HANDED_OUT_MAX, random: this.options.random }
    return choosePeers({ ...question, isEligible: ({ node }) => node !== asker }).map(({ node }) => node)
  }

  lease(node: number, position: number, nowMs: number): LeaseRecord | undefined {
    this.leaseNumber += 1
    return this.leases.take(
      {
        node: idOf(node),
        pull: '',
        lease: String(this.leaseNumber),
        position,
        nowMs,
        leaseMs: LEASE_MS,
        sharers: Math.max(1, this.leechers.length),
        policy: this.options.policy,
      },
      { pieceCount: this.options.pieceCount, isOpen: (piece) => this.published[piece] === 0 },
    )
  }

  publish(node: number, lease: string, piece: number, nowMs: number): void {
    const newPieces = 1 - this.published[piece]!
    this.published[piece] = 1
    const progress = { node: idOf(node), lease, newPieces, nowMs, leaseMs: LEASE_MS }
    this.leases.progress(progress, (other) => this.published[other] === 1)
  }

  /** Some pieces are not published yet. */
  get isCold(): boolean {
    return this.published.includes(0)
  }

  retryInMs(nowMs: number): number {
    return retryInMs({ nextExpiryInMs: this.leases.nextExpiryInMs(nowMs), random: this.options.random() })
  }
}

function idOf(node: number): NodeId {
  return String(node) as NodeId
}

function remove(pool: Candidate[], candidate: Candidate): void {
  const at = pool.indexOf(candidate)
  if (at < 0) return
  pool[at] = pool[pool.length - 1]!
  pool.pop()
}
