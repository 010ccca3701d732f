import type { Logger } from 'pino'
import type { Conditions } from '../../core/conditions.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import type { Reach } from '../../core/reach-api.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { PeersStatus } from '../client.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { TrackerClient } from '../membership/tracker-client.ts'
import type { SharedHost } from './link-host.ts'
import { type DialReports, NodeLinks, type NodeLinksOptions } from './node-links.ts'
import { nameOf, PeerAddresses } from './peer-addresses.ts'
import { dialPeer } from './peer-dial.ts'
import type { PeerLink } from './peer-link.ts'
import { PeerLog } from './peer-log.ts'

/** How long after a trial of this node's port a refusal may still be the tracker's. */
const TRIAL_ECHO_MS = 1_000

export interface ReachingHost extends SharedHost {
  attach(link: PeerLink): void
}

/** Dials peers, and remembers for the whole node which of them can be reached. */
export class PeerReach implements DialReports {
  readonly links: NodeLinks
  readonly addresses = new PeerAddresses()
  readonly #events = { refused: 0, unreachable: 0 }
  readonly #conditions: Conditions
  readonly #log: Logger
  readonly #refusals: PeerLog
  /** Calls under way in which the tracker dials this node. */
  #trials = 0

  constructor(options: Omit<NodeLinksOptions, 'reach'> & { conditions: Conditions }) {
    const { conditions, log } = options
    this.links = new NodeLinks({ ...options, reach: this })
    this.#conditions = conditions
    this.#log = log
    this.#refusals = new PeerLog(log)
  }

  /** Stock clients and older nodes have a connection for each blob. */
  dial(peer: Peer, host: ReachingHost, credential: PeerCredential): void {
    if (this.links.mayUse(peer)) return void this.links.want(peer, host)
    dialPeer(peer, {
      host,
      credential,
      onLink: (link) => {
        this.answered(peer)
        host.attach(link)
      },
      onLate: () => this.late(peer),
      onFailed: (error, isReached) => {
        host.dials.ended(peer.node)
        this.failed(peer, error, isReached)
      },
    })
  }

  /** A dial has led to a link. */
  answered(peer: Peer): void {
    this.addresses.answered(peer)
    this.#conditions.clear('PEERS_UNREACHABLE', nameOf(peer))
  }

  /** A dial takes too long. */
  late(peer: Peer): void {
    this.addresses.late(peer, Date.now())
  }

  /** @param isReached the other side answered, and refused or was refused */
  failed(peer: Peer, error: Error, isReached: boolean): void {
    this.#log.debug({ err: error, peer: peer.node }, 'dial failed')
    if (isReached) this.#refusedBy(peer)
    else this.#unreachable(peer)
  }

  /** Somebody who dialled this node was refused. The tracker, which has no node's certificate, is no news. */
  refused(error: ShoalError, address: string | undefined): void {
    if (this.#trials > 0) return
    this.#events.refused += 1
    const source = address === undefined ? '' : networkOf(address)
    this.#refusals.tell(source, error, { address }, 'peer refused')
  }

  /** The tracker dials this node, and this node one other. @throws as the tracker's call */
  async reach(tracker: Pick<TrackerClient, 'reach'>, node?: NodeId): Promise<Reach> {
    this.#trials += 1
    try {
      const { other, ...rest } = await tracker.reach(node === undefined ? {} : { node })
      if (other === null) return { ...rest, other }
      const link = await this.links.tryLink({ ...other, isSeed: false })
      return { ...rest, other: { ...other, link } }
    } finally {
      // This node may hear of the end of the tracker's dial after its answer.
      setTimeout(() => (this.#trials -= 1), TRIAL_ECHO_MS).unref()
    }
  }

  forgetUnused(nowMs: number): void {
    this.addresses.forgetUnused(nowMs)
  }

  status(connected: ReadonlySet<NodeId>): PeersStatus {
    const failed = this.addresses.failedLately(connected, Date.now())
    return { connected: connected.size, ...failed, events: { ...this.#events } }
  }

  #refusedBy(peer: Peer): void {
    this.#events.refused += 1
    this.addresses.refused(peer, Date.now())
    this.#conditions.clear('PEERS_UNREACHABLE', nameOf(peer))
  }

  #unreachable(peer: Peer): void {
    this.#events.unreachable += 1
    const untilMs = this.addresses.failed(peer, Date.now())
    this.#conditions.raise('PEERS_UNREACHABLE', nameOf(peer), { peer: peer.node }, { untilMs })
  }
}
