import { connect } from 'node:net'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import { afterTrial, type Endpoint, isTrialDue, type PortTrial } from '../handout/port-retries.ts'
import type { TrackerMetrics } from '../metrics.ts'
import type { PeerTables } from './peer-tables.ts'

/** Connections to nodes' ports that open at the same time, however many nodes join together. */
export const PORT_TRIALS_AT_ONCE_MAX = 32
/** Nodes that wait for their trial; others wait for their next heartbeat. */
export const PORT_TRIALS_WAITING_MAX = 10_000
/** Remembered trials: the oldest is forgotten first, and tried again. */
export const PORT_TRIALS_REMEMBERED_MAX = 20_000
/** Bound of one trial: a connection inside one site opens in milliseconds. */
export const PORT_TRIAL_MS_MAX = 2_000

type Dial = (at: Endpoint) => Promise<boolean>

interface Waiting extends Endpoint {
  cluster: ClusterId
  node: NodeId
}

/**
 * Tries whether nodes are reached where they are listed. Invariant: it connects to the source address of a member's own
 * connection and the port that the member names, nowhere else; it sends nothing, and tells only that member the result.
 */
export class PortTrials {
  readonly #peers: PeerTables
  readonly #metrics: Pick<TrackerMetrics, 'portTrials'>
  readonly #nowMs: () => number
  readonly #dial: Dial
  /** By cluster and node. */
  readonly #last = new BoundedMap<string, PortTrial>(PORT_TRIALS_REMEMBERED_MAX)
  readonly #waiting = new Map<string, Waiting>()
  readonly #running = new Set<string>()
  #isClosed = false

  constructor(options: {
    peers: PeerTables
    metrics: Pick<TrackerMetrics, 'portTrials'>
    nowMs: () => number
    dial: Dial
  }) {
    this.#peers = options.peers
    this.#metrics = options.metrics
    this.#nowMs = options.nowMs
    this.#dial = options.dial
  }

  /** The node showed itself at this endpoint: tries it if that is due. Returns at once. */
  see(cluster: ClusterId, { node, address, port }: Endpoint & { node: NodeId }, nowMs: number): void {
    const key = `${cluster}/${node}`
    if (this.#isClosed || this.#running.has(key)) return
    if (!isTrialDue(this.#last.get(key), { address, port }, nowMs)) return
    if (!this.#waiting.has(key) && this.#waiting.size >= PORT_TRIALS_WAITING_MAX) return
    this.#waiting.set(key, { cluster, node, address, port })
    this.#next()
  }

  close(): void {
    this.#isClosed = true
    this.#waiting.clear()
  }

  #next(): void {
    for (const [key, waiting] of this.#waiting) {
      if (this.#running.size >= PORT_TRIALS_AT_ONCE_MAX) return
      this.#waiting.delete(key)
      this.#running.add(key)
      void this.#try(key, waiting)
    }
  }

  async #try(key: string, { cluster, node, ...at }: Waiting): Promise<void> {
    const isReached = await this.#dial(at).catch(() => false)
    this.#running.delete(key)
    if (this.#isClosed) return
    this.#last.set(key, afterTrial(this.#last.get(key), at, { isReached, nowMs: this.#nowMs() }))
    this.#peers.of(cluster).tried(node, at, isReached)
    this.#metrics.portTrials.inc({ result: isReached ? 'reached' : 'not reached' })
    this.#next()
  }
}

/** Opens a connection and resets it: a peer that is sent nothing counts no handshake. */
export function dialPort({ address, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port })
    const ended = (isReached: boolean) => {
      clearTimeout(timer)
      if (isReached) socket.resetAndDestroy()
      else socket.destroy()
      resolve(isReached)
    }
    const timer = setTimeout(() => ended(false), PORT_TRIAL_MS_MAX)
    timer.unref()
    socket.once('connect', () => ended(true))
    socket.on('error', () => ended(false))
  })
}
