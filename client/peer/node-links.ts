import type { SecureContext, TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { reasonOf, type ShoalError } from '../../core/errors.ts'
import { linkHolderOf } from '../../core/link-certificate.ts'
import type { NodeId } from '../../core/metainfo.ts'
import type { LinkTrial } from '../../core/reach-api.ts'
import type { Peer } from '../../core/tracker-api.ts'
import { WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { ProofRate } from '../engine/proof-rate.ts'
import { PeerOutdatedError, PeerProtocolError, PeerRefusedError } from '../errors.ts'
import type { PeerCredential } from '../membership/cluster-trust.ts'
import type { Grant } from '../membership/grant.ts'
import type { LinkParts, SharedHost } from './link-host.ts'
import { NodeLink } from './node-link.ts'
import { dialNode } from './peer-dial.ts'
import type { ListeningNode } from './peer-listener.ts'
import { PeerLog } from './peer-log.ts'

/** Links that this node keeps from one other node: one, and another while it is replaced. */
export const LINKS_PER_NODE_MAX = 2
/** Dialled links with which a blob looks for no other nodes, unless none of these has it. */
export const LINKS_DIALLED_ENOUGH = 32
/** Bound of a link that is opened only to see whether it opens. */
const LINK_TRIAL_MS_MAX = 5_000
/** Share of the time to a link's end after which it is dialled anew. */
const REDIAL_AT_SHARE = 5 / 6

/** Told how dials end, for the whole node. */
export interface DialReports {
  answered(peer: Peer): void
  late(peer: Peer): void
  /** @param isReached the other side answered, and refused or was refused */
  failed(peer: Peer, error: Error, isReached: boolean): void
}

export interface NodeLinksOptions {
  parts: Omit<LinkParts<NodeLink>, 'proofs' | 'onOpen' | 'onClosed'>
  /** This node's link certificate; undefined until the tracker has issued one. */
  credential(): PeerCredential | undefined
  reach: DialReports
  log: Logger
}

/** A node that this one has dialled, or dials. */
interface Dialled {
  peer: Peer
  /** Undefined until TLS is through. */
  link: NodeLink | undefined
  /** Swarms that wait for it. */
  readonly waiting: Set<SharedHost>
}

/**
 * The links of this node: one to each node that it downloads from, which it dials, and one from each that downloads from it.
 * Where a node cannot be dialled, the link that it dialled carries both directions.
 */
export class NodeLinks implements ListeningNode {
  readonly #options: NodeLinksOptions
  readonly #parts: LinkParts<NodeLink>
  readonly #log: PeerLog
  readonly #dialled = new Map<NodeId, Dialled>()
  /** The newest last. */
  readonly #accepted = new Map<NodeId, NodeLink[]>()
  /** All of them, those that are being replaced as well; with the timer of their replacement. */
  readonly #links = new Map<NodeLink, NodeJS.Timeout | undefined>()
  readonly #redialling = new Set<NodeId>()
  #isClosed = false

  constructor(options: NodeLinksOptions) {
    this.#options = options
    this.#log = new PeerLog(options.log)
    this.#parts = {
      ...options.parts,
      proofs: new ProofRate(),
      onOpen: (link) => this.#onOpen(link),
      onClosed: (link, reason) => this.#onClosed(link, reason),
    }
  }

  get node(): NodeId {
    return this.#parts.node()
  }

  /** What this node presents to those that dial a link. */
  context(): SecureContext | undefined {
    return this.#options.credential()?.context
  }

  /** Both sides have links. */
  mayUse({ wire = 0, infoHash }: Peer): boolean {
    return wire >= WIRE_VERSION_LINKS && infoHash === undefined && this.#options.credential() !== undefined
  }

  /** A swarm on a link to this node needs no other connection. */
  isLinked(node: NodeId): boolean {
    return this.#dialled.has(node)
  }

  get dialledCount(): number {
    return this.#dialled.size
  }

  /** Downloads the swarm from the peer, over the link that there is or is dialled now. */
  want(peer: Peer, host: SharedHost): void {
    const dialled = this.#dialled.get(peer.node)
    if (dialled?.link?.isOpen) return void this.#openOn(dialled.link, host)
    const theirs = this.#accepted.get(peer.node)?.at(-1)
    if (peer.dialsOnly && theirs) return void this.#openOn(theirs, host)
    if (dialled) dialled.waiting.add(host)
    else this.#dial({ peer, link: undefined, waiting: new Set([host]) })
  }

  /** A connection whose TLS handshake is finished. @throws PeerRefusedError, CertificateClaimsError */
  accept(socket: TLSSocket, network: string): NodeLink {
    const certificate = socket.getPeerX509Certificate()
    if (!certificate || !socket.authorized) throw new PeerRefusedError('no such node here')
    if (this.#parts.trust.isRevoked(linkHolderOf(certificate))) throw new PeerRefusedError('revoked')
    const link = new NodeLink(socket, { parts: this.#parts, isDialler: false, network })
    this.#links.set(link, undefined)
    return link
  }

  /** The grant's certificate is new: shown wherever the one before was. */
  renewed(grant: Grant): void {
    for (const link of [...this.#links.keys()]) link.renewPull(grant)
  }

  /** Revocations, trust or keys may have changed. */
  recheck(): void {
    const { trust } = this.#parts
    for (const link of [...this.#links.keys()]) {
      if (trust.isRevoked(link.claims)) link.close(new PeerRefusedError('revoked'))
      else if (!trust.vouchesFor(link.certificates)) this.#replace(link)
      else {
        link.recheck()
        if (this.#isOutdated(link)) this.#redial(link)
      }
    }
  }

  /** Another authority issues now: both sides present its certificates before the one before is withdrawn. */
  #isOutdated(link: NodeLink): boolean {
    const { trust } = this.#parts
    const own = this.#options.credential()
    if (own === undefined || trust.isOutdated(own.certificatePem)) return false
    return link.certificates.some((certificate) => trust.isOutdated(certificate.toString()))
  }

  close(): void {
    this.#isClosed = true
    for (const link of [...this.#links.keys()]) link.close(undefined)
  }

  /** The other side did nothing wrong, and has a certificate of the new authority by now. */
  #replace(link: NodeLink): void {
    const { hosts } = link.swarms
    const peer = this.#dialled.get(link.node)?.peer
    link.close(new PeerOutdatedError('the authority of a certificate was withdrawn'))
    if (peer) for (const host of hosts) this.want(peer, host)
  }

  /** Opens a link, with both handshakes, and ends it again. Never rejects. */
  tryLink(peer: Peer): Promise<LinkTrial> {
    if (this.#dialled.get(peer.node)?.link?.isOpen) return Promise.resolve({ outcome: 'linked' })
    const credential = this.#options.credential()
    if (credential === undefined || !this.mayUse(peer)) return Promise.resolve({ outcome: 'unlinked' })
    return new Promise((resolve) => {
      const late = (link: NodeLink) => link.close(new PeerProtocolError('no handshake in time'))
      const parts: LinkParts<NodeLink> = {
        ...this.#parts,
        onOpen: (link) => {
          resolve({ outcome: 'linked' })
          link.close(undefined)
        },
        onClosed: (link, reason) => {
          clearTimeout(this.#links.get(link))
          this.#links.delete(link)
          resolve({ outcome: 'refused', reason: reason === undefined ? 'it hung up' : reasonOf(reason) })
        },
      }
      dialNode(peer, {
        parts,
        credential,
        onLink: (link) => this.#links.set(link, setTimeout(late, LINK_TRIAL_MS_MAX, link).unref()),
        onLate: () => undefined,
        onFailed: (error, isReached) =>
          resolve({ outcome: isReached ? 'refused' : 'unreachable', reason: reasonOf(error) }),
      })
    })
  }

  #dial(dialled: Dialled): void {
    const { peer } = dialled
    const credential = this.#options.credential()
    if (credential === undefined || this.#isClosed) return void this.#failed(dialled)
    this.#dialled.set(peer.node, dialled)
    dialNode(peer, {
      parts: this.#parts,
      credential,
      onLink: (link) => {
        this.#links.set(link, undefined)
        dialled.link = link
        this.#options.reach.answered(peer)
      },
      onLate: () => {
        this.#options.reach.late(peer)
        this.#fallBack(dialled)
      },
      onFailed: (error, isReached) => {
        this.#options.reach.failed(peer, error, isReached)
        this.#failed(dialled)
      },
    })
  }

  /** Nobody waits for a dial that is late, if the other side has dialled this node. */
  #fallBack({ peer, waiting }: Dialled): void {
    const theirs = this.#accepted.get(peer.node)?.at(-1)
    if (theirs === undefined) return
    for (const host of [...waiting]) {
      waiting.delete(host)
      this.#openOn(theirs, host)
    }
  }

  #failed(dialled: Dialled): void {
    if (this.#dialled.get(dialled.peer.node) === dialled) this.#dialled.delete(dialled.peer.node)
    this.#fallBack(dialled)
    for (const host of dialled.waiting) host.dials.ended(dialled.peer.node)
    dialled.waiting.clear()
  }

  #openOn(link: NodeLink, host: SharedHost): void {
    if (link.boundary.run(() => link.swarms.want(host)) !== true) host.dials.ended(link.node)
  }

  #onOpen(link: NodeLink): void {
    if (!link.isDialler) return void this.#onAccepted(link)
    this.#redialLater(link)
    const dialled = this.#dialled.get(link.node)
    if (dialled === undefined) return
    const before = dialled.link
    dialled.link = link
    const moving = before === link ? [] : (before?.swarms.hosts ?? [])
    for (const host of [...moving, ...dialled.waiting]) this.#openOn(link, host)
    dialled.waiting.clear()
    if (before !== link) before?.retire()
  }

  #onAccepted(link: NodeLink): void {
    const links = [...(this.#accepted.get(link.node) ?? []), link]
    this.#accepted.set(link.node, links)
    if (links.length > LINKS_PER_NODE_MAX) links[0]!.close(new PeerProtocolError('one link too many'))
  }

  /** A link that ends with a certificate is replaced before; what is under way on it ends by itself. */
  #redialLater(link: NodeLink): void {
    const inMs = Math.min(2 ** 31 - 1, (link.endMs - Date.now()) * REDIAL_AT_SHARE)
    const timer = setTimeout(
      link.boundary.callback(() => this.#redial(link)),
      Math.max(0, inMs),
    )
    this.#links.set(link, timer.unref())
  }

  #redial(link: NodeLink): void {
    const dialled = this.#dialled.get(link.node)
    const credential = this.#options.credential()
    // Nothing is wanted from that node: the link may end.
    if (dialled?.link !== link || credential === undefined || link.swarms.hosts.length === 0) return
    if (this.#redialling.has(link.node)) return
    this.#redialling.add(link.node)
    dialNode(dialled.peer, {
      parts: this.#parts,
      credential,
      onLink: (made) => {
        this.#redialling.delete(link.node)
        this.#links.set(made, undefined)
      },
      onLate: () => undefined,
      onFailed: (error) => {
        this.#redialling.delete(link.node)
        this.#options.log.debug({ err: error, peer: link.node }, 'redial failed')
      },
    })
  }

  #onClosed(link: NodeLink, reason: ShoalError | undefined): void {
    clearTimeout(this.#links.get(link))
    this.#links.delete(link)
    const dialled = this.#dialled.get(link.node)
    if (dialled?.link === link) this.#failed(dialled)
    const others = this.#accepted.get(link.node)?.filter((other) => other !== link) ?? []
    if (others.length > 0) this.#accepted.set(link.node, others)
    else this.#accepted.delete(link.node)
    if (reason) this.#log.tell(link.node, reason, { peer: link.node }, 'link ended')
  }
}
