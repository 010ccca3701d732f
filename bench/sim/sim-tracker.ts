import type { NodeId } from '../../core/metainfo.ts'
import { trackerConfig } from '../../tracker/config.ts'
import { type LeasePolicy, onlyFirstPieces, type PieceRun } from '../../tracker/handout/leases.ts'
import { nearestFirst } from '../../tracker/handout/near-and-far.ts'
import {
  choosePeers,
  PEERS_HANDED_OUT_MAX,
  type PeerCandidate,
  shuffle,
} from '../../tracker/handout/peers.ts'
import { Retries } from '../../tracker/handout/retries.ts'
import { Refetches } from '../../tracker/swarm/refetches.ts'
import { SwarmLeases, type TakenLease } from '../../tracker/swarm/swarm-leases.ts'
import { LAYOUT } from './scenarios.ts'

const LEASE_MS = trackerConfig.shape.leaseSeconds.parse(undefined) * 1000

interface Candidate extends PeerCandidate {
  node: number
}

export interface SimTrackerOptions {
  policy: LeasePolicy
  random(): number
  /** Whether two nodes are in one zone. Absent: the tracker knows no zones. */
  isNear?(one: number, other: number): boolean
}

/** The tracker's own policies and leases, with the state of one simulated swarm. */
export class SimTracker {
  /** Calls about the image: pulls, hashes and leases, completions. */
  requests = 0
  readonly #options: SimTrackerOptions
  readonly #leases = new SwarmLeases([], () => ({ putLeases: [], dropLeases: [] }) as never)
  readonly #refetches = new Refetches()
  readonly #retries = new Retries()
  readonly #published: Uint8Array
  #unpublished: number
  readonly #candidates = new Map<number, Candidate>()
  readonly #seeds: Candidate[] = []
  readonly #leechers: Candidate[] = []
  #leaseNumber = 0

  constructor(options: SimTrackerOptions) {
    this.#options = options
    this.#published = new Uint8Array(LAYOUT.pieceCount)
    this.#unpublished = LAYOUT.pieceCount
  }

  join(node: number): void {
    const candidate = { node, handouts: 0 }
    this.#candidates.set(node, candidate)
    this.#leechers.push(candidate)
  }

  completed(node: number): void {
    const candidate = this.#candidates.get(node)!
    remove(this.#leechers, candidate)
    this.#seeds.push(candidate)
  }

  /** Every hash is known: the blob is in the cluster. */
  setWarm(): void {
    this.#published.fill(1)
    this.#unpublished = 0
  }

  /** The node has been silent for too long. */
  forget(node: number): void {
    const candidate = this.#candidates.get(node)!
    remove(this.#leechers, candidate)
    remove(this.#seeds, candidate)
  }

  heartbeat(node: number): void {
    this.#candidates.get(node)!.handouts = 0
  }

  peersFor(asker: number): number[] {
    const seeds = this.#seeds
    const leechers = this.#leechers
    const { random, isNear } = this.#options
    const question = { seeds, leechers, random }
    const choose = (peersMax: number, isEligible: (candidate: Candidate) => boolean) =>
      choosePeers({ ...question, peersMax, isEligible: (it) => it.node !== asker && isEligible(it) })
    if (isNear === undefined) return choose(PEERS_HANDED_OUT_MAX, () => true).map(({ node }) => node)
    const taken = new Set<Candidate>()
    const peers = nearestFirst(PEERS_HANDED_OUT_MAX, 2, (ring, count) => {
      const isNew = (it: Candidate) => !taken.has(it) && isNear(asker, it.node) === (ring === 0)
      const chosen = choose(count, isNew)
      for (const it of chosen) taken.add(it)
      return chosen
    })
    return shuffle(peers, random).map(({ node }) => node)
  }

  /**
   * Answers as tracker/calls/publish-hashes.ts does: a lease, or the time of the next call while some pieces have no
   * hash or others fetch pieces out of reach.
   */
  lease(asker: { node: NodeId; position: number; nowMs: number; awaited: PieceRun[] }): {
    lease: TakenLease | undefined
    retryInMs: number | undefined
  } {
    const { awaited, nowMs } = asker
    if (!this.isCold && awaited.length === 0) return { lease: undefined, retryInMs: undefined }
    const isPublished = (piece: number) => this.#published[piece] === 1
    this.#leaseNumber += 1
    const lease = this.#leases.take(
      {
        ...asker,
        pull: '',
        lease: String(this.#leaseNumber),
        leaseMs: LEASE_MS,
        policy: this.isCold ? this.#options.policy : onlyFirstPieces(this.#options.policy),
      },
      {
        pieceCount: LAYOUT.pieceCount,
        pieceBytes: LAYOUT.pieceBytes,
        isOpen: (piece) => !isPublished(piece) || this.#refetches.isDue(piece, { awaited, nowMs }),
      },
    )
    if (lease) {
      this.#refetches.begin(lease, { nowMs, isPublished })
      return { lease, retryInMs: undefined }
    }
    const nextExpiryInMs = this.isCold
      ? this.#leases.nextExpiryInMs(nowMs)
      : this.#refetches.endInMs(awaited, nowMs)
    if (nextExpiryInMs === undefined) return { lease: undefined, retryInMs: undefined }
    const random = this.#options.random()
    return {
      lease: undefined,
      retryInMs: this.#retries.inMs({ nextExpiryInMs, isCold: this.isCold, nowMs, random }),
    }
  }

  /** @returns the lease's end; null if the node does not hold it any more */
  publish(publication: {
    node: NodeId
    lease: string
    piece: number
    nowMs: number
    requestedTo: number
  }): number | null {
    const { piece, requestedTo, ...progress } = publication
    const newPieces = this.#published[piece] === 0 ? 1 : 0
    this.#unpublished -= newPieces
    this.#published[piece] = 1
    this.#refetches.arrived(piece, progress.lease)
    const isKnown = (other: number) =>
      this.#published[other] === 1 && !this.#refetches.isFetching(other, progress.lease)
    this.#leases.progress({ ...progress, newPieces, leaseMs: LEASE_MS }, isKnown)
    return this.#leases.requested(progress.lease, progress.node, requestedTo) ?? null
  }

  /** Some pieces are not published yet. */
  get isCold(): boolean {
    return this.#unpublished > 0
  }
}

function remove(pool: Candidate[], candidate: Candidate): void {
  const at = pool.indexOf(candidate)
  if (at < 0) return
  pool[at] = pool[pool.length - 1]!
  pool.pop()
}
