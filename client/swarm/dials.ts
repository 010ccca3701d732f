import type { ShoalError } from '../../core/errors.ts'
import type { NodeId } from '../../core/metainfo.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { PeerLostError, PeerOutdatedError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import type { PeersReach } from '../origin/origin-plan.ts'
import type { SwarmLink } from '../peer/link-host.ts'
import { LINKS_DIALLED_ENOUGH, type NodeLinks } from '../peer/node-links.ts'
import type { PeerAddresses } from '../peer/peer-addresses.ts'
import type { KnownPeers } from './known-peers.ts'

/** Connections that a downloading node dials for one swarm. */
export const DIALS_MAX = 12

export interface DialsHost {
  /** This node is downloading. */
  isWanted(): boolean
  isUploadOnly(): boolean
  grant(): Grant | undefined
  /** No dial to this node is wanted: it is connected, or this node itself. */
  isConnected(node: NodeId): boolean
  linkCount(): number
  links: Pick<NodeLinks, 'isLinked' | 'mayUse' | 'dialledCount'>
  addresses: Pick<PeerAddresses, 'isWorking' | 'mayDial' | 'dialled' | 'returned'>
  dial(peer: Peer, credential: PeerCredential): void
}

/**
 * The peers that one swarm dials. Invariant: each peer is dialled once at a time, except to replace an existing link.
 */
export class Dials {
  readonly peers: KnownPeers
  readonly #host: DialsHost
  readonly #dialling = new Set<NodeId>()

  constructor(peers: KnownPeers, host: DialsHost) {
    this.peers = peers
    this.#host = host
  }

  /** Dials known peers, up to DIALS_MAX. */
  connect(): void {
    const grant = this.#host.grant()
    if (!grant || this.#host.isUploadOnly() || !this.#host.isWanted()) return
    const nowMs = Date.now()
    const { addresses, links } = this.#host
    const isLinked = (node: NodeId) => links.isLinked(node)
    const count = this.#host.linkCount() + this.#dialling.size
    // A node that pulls many blobs needs no link to every holder of each.
    const hasEnough = () => links.dialledCount >= LINKS_DIALLED_ENOUGH
    let hasOne = count > 0
    const isUnwanted = (peer: Peer) =>
      this.#isHere(peer.node) || (!isLinked(peer.node) && !addresses.mayDial(peer, nowMs))
    for (const peer of this.peers.due(nowMs, DIALS_MAX - count, { isUnwanted, isLinked })) {
      if (!isLinked(peer.node)) {
        if (links.mayUse(peer) && hasOne && hasEnough()) continue
        addresses.dialled(peer, nowMs)
      }
      hasOne = true
      this.peers.postpone(peer.node, nowMs)
      this.#dialling.add(peer.node)
      this.#host.dial(peer, grant.credential)
    }
  }

  /** Whether a peer can be expected to offer pieces now. */
  get reach(): PeersReach {
    if (this.#host.linkCount() > 0) return 'linked'
    if (this.peers.size === 0) return 'none'
    const dialled = [...this.#dialling].map((node) => this.peers.get(node))
    const isWorking = (peer: Peer | undefined) => peer !== undefined && this.#host.addresses.isWorking(peer)
    return [...dialled, ...this.peers.lostNow].some(isWorking) ? 'dialling' : 'unreachable'
  }

  #isHere(node: NodeId): boolean {
    return this.#host.isConnected(node) || this.#dialling.has(node)
  }

  /** Dials the peer of a link that will be replaced, if this node dialled it. */
  again(link: Pick<SwarmLink, 'node' | 'isDialler'>): void {
    const grant = this.#host.grant()
    const peer = link.isDialler ? this.peers.get(link.node) : undefined
    if (!grant || !peer || !this.#host.isWanted()) return
    this.#dialling.add(link.node)
    this.#host.dial(peer, grant.credential)
  }

  /**
   * An open link has ended. A peer that this side found no fault with is dialled again at the next look, so that a renewed
   * certificate or a withdrawn key sends no download to the registry.
   */
  left(node: NodeId, reason: ShoalError | undefined): void {
    const isFault =
      reason !== undefined && !(reason instanceof PeerLostError || reason instanceof PeerOutdatedError)
    if (isFault) this.peers.postpone(node, Date.now())
    else this.peers.lost(node, Date.now())
  }

  /** The peer has dialled this node: it runs, and a pause after dials that failed is over. */
  returned(node: NodeId): void {
    const nowMs = Date.now()
    const peer = this.peers.returned(node, nowMs)
    if (peer === undefined) return
    this.#host.addresses.returned(peer)
    this.connect()
  }

  /** The dial failed, or its link is open or closed. */
  ended(node: NodeId): void {
    this.#dialling.delete(node)
  }
}
