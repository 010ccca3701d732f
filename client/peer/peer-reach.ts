import type { Logger } from 'pino'
import type { Conditions } from '../../core/conditions.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { NodeId } from '../../core/metainfo.ts'
import { networkOf } from '../../core/network.ts'
import type { Peer } from '../../core/tracker-api.ts'
import type { PeersStatus } from '../client.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import { PeerStandings } from '../membership/peer-standings.ts'
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
  readonly #standings = new PeerStandings()
  readonly #conditions: Conditions
  readonly #log: Logger
  readonly #refusals: PeerLog

  constructor({ conditions, log }: { conditions: Conditions; log: Logger }) {
    this.#conditions = conditions
    this.#log = log
    this.#refusals = new PeerLog(log)
  }

  dial(peer: Peer, host: ReachingHost, credential: PeerCredential): void {
    const { addresses } = this
    dialPeer(peer, {
      host,
      credential,
      onLink: (link) => {
        if (addresses.answered(peer)) this.#conditions.clear('PEERS_UNREACHABLE', nameOf(peer))
        host.attach(link)
      },
      onLate: () => addresses.late(peer, Date.now()),
      onFailed: (error, isReached) => {
        this.#standings.failed(isReached ? 'refused' : 'unreachable', peer.node)
        host.dials.ended(peer.node)
        this.#log.debug({ err: error, peer: peer.node }, 'dial failed')
        if (isReached) addresses.answered(peer)
        else if (addresses.failed(peer, Date.now()))
          this.#conditions.raise('PEERS_UNREACHABLE', nameOf(peer), { peer: peer.node })
      },
    })
  }

  /** Somebody who dialled this node was refused. */
  refused(error: ShoalError, address: string | undefined): void {
    this.#standings.failed('refused')
    const source = address === undefined ? '' : networkOf(address)
    this.#refusals.tell(source, error, { address }, 'peer refused')
  }

  forgetUnused(nowMs: number): void {
    for (const name of this.addresses.forgetUnused(nowMs)) this.#conditions.clear('PEERS_UNREACHABLE', name)
  }

  status(connected: ReadonlySet<NodeId>): PeersStatus {
    return this.#standings.status(connected)
  }
}
