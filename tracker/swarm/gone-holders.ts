import { connect } from 'node:net'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { Endpoint } from '../handout/port-retries.ts'
import type { PeerTables } from './peer-tables.ts'
import type { SwarmState } from './swarm-state.ts'

/** A holder that has published nothing of a lease for this time may be gone. */
export const HOLDER_SILENT_MS = 500
/**
 * What was found out about a holder counts for this time: a slow one is dialled no more often. Not longer than a node takes to
 * ask after it lost a peer (client/origin/origin-plan.ts): that the holder was there before says nothing then.
 */
export const HOLDER_LOOK_REST_MS = 500
/** Bound of one look. Within one site a closed port refuses in milliseconds. */
export const HOLDER_LOOK_MS_MAX = 300
/** Looks under way at the same time. Other holders count as present. */
export const HOLDER_LOOKS_AT_ONCE_MAX = 32
/** Bound of remembered looks; the oldest is forgotten first. */
export const HOLDER_LOOKS_REMEMBERED_MAX = 4096

interface Look {
  atMs: number
  isGone: Promise<boolean>
}

/**
 * Finds out which holders of leases are gone: the process has ended, and its machine says so. Invariant: as for port trials it
 * connects to where a member is listed, nowhere else, and sends nothing. A port that this tracker never reached proves nothing.
 */
export class GoneHolders {
  readonly #peers: PeerTables
  readonly #nowMs: () => number
  readonly #isClosed: (at: Endpoint) => Promise<boolean>
  /** By cluster and node. */
  readonly #looks = new BoundedMap<string, Look>(HOLDER_LOOKS_REMEMBERED_MAX)
  #running = 0

  constructor(options: {
    peers: PeerTables
    nowMs: () => number
    isClosed?: (at: Endpoint) => Promise<boolean>
  }) {
    this.#peers = options.peers
    this.#nowMs = options.nowMs
    this.#isClosed = options.isClosed ?? isPortClosed
  }

  /** Those of the nodes that are gone. Never rejects. */
  async among(cluster: ClusterId, nodes: ReadonlySet<NodeId>): Promise<Set<NodeId>> {
    const looked = [...nodes].map(async (node) => ((await this.#isGone(cluster, node)) ? [node] : []))
    return new Set((await Promise.all(looked)).flat())
  }

  #isGone(cluster: ClusterId, node: NodeId): Promise<boolean> {
    const key = `${cluster}/${node}`
    const nowMs = this.#nowMs()
    const last = this.#looks.get(key)
    if (last !== undefined && nowMs - last.atMs < HOLDER_LOOK_REST_MS) return last.isGone
    const listed = this.#peers.of(cluster).listing(node, nowMs)
    const isLookable = listed?.isReached === true && this.#running < HOLDER_LOOKS_AT_ONCE_MAX
    if (!isLookable) return Promise.resolve(false)
    const isGone = this.#look(listed)
    this.#looks.set(key, { atMs: nowMs, isGone })
    return isGone
  }

  async #look(at: Endpoint): Promise<boolean> {
    this.#running += 1
    try {
      return await this.#isClosed(at)
    } finally {
      this.#running -= 1
    }
  }
}

/** Other nodes than the asker that hold a lease and are silent. */
export function silentHolders({ leases }: SwarmState, asker: NodeId, nowMs: number): Set<NodeId> {
  const silent = leases
    .running(nowMs)
    .filter(({ node, idleMs }) => node !== asker && idleMs >= HOLDER_SILENT_MS)
  return new Set(silent.map(({ node }) => node))
}

/** Ends the leases of nodes that are gone; what they held is free at once. */
export function endLeasesOf(gone: ReadonlySet<NodeId>, state: SwarmState, nowMs: number): void {
  for (const { lease, node, idleMs } of state.leases.running(nowMs))
    if (gone.has(node) && idleMs >= HOLDER_SILENT_MS) state.release(lease, node)
}

/** Whether the machine answers that nobody listens there (RFC 9293 §3.5.2). Silence is no such answer. */
function isPortClosed({ address, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port })
    const ended = (isClosed: boolean) => {
      clearTimeout(timer)
      if (isClosed) socket.destroy()
      else socket.resetAndDestroy()
      resolve(isClosed)
    }
    const timer = setTimeout(ended, HOLDER_LOOK_MS_MAX, false)
    timer.unref()
    socket.once('connect', () => ended(false))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => ended(code === 'ECONNREFUSED'))
  })
}
