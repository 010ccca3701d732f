import type { Logger } from 'pino'
import type { Conditions } from '../../core/conditions.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { PeersStatus } from '../client.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { LinkHost } from './link-host.ts'
import { nameOf, PeerAddresses } from './peer-addresses.ts'
import { dialPeer } from './peer-dial.ts'
import type { PeerLink } from './peer-link.ts'
import { PeerLog } from './peer-log.ts'

export interface ReachingHost extends LinkHost<PeerLink> {
  attach(link: PeerLink): void
  readonly dials: {
    /** The dial came to nothing. */
    ended(node: NodeId): void
  }
}

/** Dials peers, and remembers for the whole node which of them can be reached. */
export class PeerReach {
  readonly addresses = new PeerAddresses()
  readonly #events = { refused: 0, unreachable: 0 }
  readonly #conditions: Conditions
  readonly #log: Logger
  readonly #refusals: PeerLog

  constructor({ conditions, log }: { conditions: Conditions; log: Logger }) {
    this.#conditions = conditions
    this.#log = log
    this.#refusals = new PeerLog(log)
  }

  dial(peer: Peer, host: ReachingHost, credential: PeerCredential): void {
    dialPeer(peer, {
      host,
      credential,
      onLink: (link) => {
        this.addresses.answered(peer)
        this.#conditions.clear('PEERS_UNREACHABLE', nameOf(peer))
        host.attach(link)
      },
      onLate: () => this.addresses.late(peer, Date.now()),
      onFailed: (error, isReached) => {
        host.dials.ended(peer.node)
        this.#log.debug({ err: error, peer: peer.node }, 'dial failed')
        if (isReached) this.#refusedBy(peer)
        else this.#unreachable(peer)
      },
    })
  }

  /** Somebody who dialled this node was refused. */
  refused(error: ShoalError, address: string | undefined): void {
    this.#events.refused += 1
    const source = address === undefined ? '' : networkOf(address)
    this.#refusals.tell(source, error, { address }, 'peer refused')
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
