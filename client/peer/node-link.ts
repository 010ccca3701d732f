import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { type CertificateClaims, claimsOf } from '../../core/certificate-claims.ts'
import type { Boundary } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { ClusterId, InfoHash, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { Place } from '../engine/link-places.ts'
import { LinkTurns } from '../engine/link-turns.ts'
import type { SourceLimits } from '../engine/source.ts'
import { PeerLostError, PeerOutdatedError, PeerProtocolError, PeerRefusedError } from '../errors.ts'
import type { Grant } from '../membership/grant.ts'
import { FrameBudget } from '../wire/frame-budget.ts'
import { FrameReader, type FrameSink } from '../wire/frame-reader.ts'
import { encodeHandshake, type Handshake } from '../wire/handshake.ts'
import {
  decodeLinkHandshake,
  decodePullMessage,
  encodeLinkHandshake,
  encodePullMessage,
  encodeSwarmMessage,
  LINK_EXTENSION_IDS,
  type LinkExtension,
  type LinkHandshake,
} from '../wire/link-messages.ts'
import {
  BLOCK_BYTES_MAX,
  type BlockAddress,
  encodeMessage,
  LINK_NUMBER,
  type Message,
  type SentMessage,
} from '../wire/messages.ts'
import { LinkAdmission } from './link-admission.ts'
import type { LinkParts } from './link-host.ts'
import { type LinkOfSwarms, LinkSwarms } from './link-swarms.ts'
import { LinkWriter } from './link-writer.ts'
import { exporterOf } from './proof-binding.ts'
import { type PullStatement, statementOf } from './pull-statement.ts'
import { ShownPulls } from './shown-pulls.ts'
import { REQUESTS_QUEUED_MAX } from './upload-lane.ts'

/** Time from the end of TLS to the end of both handshakes. */
const HANDSHAKE_MS_MAX = 10_000
/** A link on which nothing is wanted and nothing was said for this time is closed. */
export const LINK_IDLE_MS = 60_000
/** How often a link that was replaced looks whether it may go. */
const RETIRED_LOOK_MS = 500

/**
 * One connection between two nodes, for all blobs, after TLS (docs/protocol.md). Both present link certificates, which open
 * nothing: who wants to download opens a pull inside, and then the swarms of the blobs that it names. Invariants: until a
 * pull of the other side is admitted, it is sent the handshakes and this side's own pulls, and what answers those; the link ends
 * no later than either side's link certificate; a failure in any message ends the link.
 */
export class NodeLink implements FrameSink, LinkOfSwarms {
  readonly isDialler: boolean
  readonly claims: CertificateClaims
  readonly boundary: Boundary
  readonly swarms: LinkSwarms
  readonly writer: LinkWriter
  readonly turns = new LinkTurns()
  /** Where the other side is, if it dialled. */
  readonly network: string | undefined
  readonly certificates: readonly X509Certificate[]
  readonly #socket: TLSSocket
  readonly #exporter: Buffer
  readonly #parts: LinkParts<NodeLink>
  readonly #name: InfoHash
  readonly #reader = new FrameReader(this, { isNumbered: true })
  readonly #budget = new FrameBudget(Date.now())
  readonly #admission: LinkAdmission
  readonly #shown: ShownPulls
  readonly #timers: NodeJS.Timeout[] = []
  readonly #sinceMs = Date.now()
  #heardAtMs = Date.now()
  #remote: LinkHandshake | undefined
  #block: Buffer | undefined
  #isClosed = false

  /** @param socket an authorised TLS 1.3 socket whose chain was verified against the cluster's authorities */
  constructor(
    socket: TLSSocket,
    options: { parts: LinkParts<NodeLink>; isDialler: boolean; network?: string },
  ) {
    const { parts, isDialler } = options
    const remote = socket.getPeerX509Certificate()!
    const local = socket.getX509Certificate()!
    this.#socket = socket
    this.#exporter = exporterOf(socket)
    this.#parts = parts
    this.isDialler = isDialler
    this.network = options.network
    this.claims = claimsOf(remote)
    this.certificates = [remote, local]
    // As in TLS: the acceptor's name.
    this.#name = (isDialler ? this.claims.node : parts.node()) as string as InfoHash
    this.boundary = parts.defects.boundary('peer_link', (reason) => this.close(reason))
    this.writer = new LinkWriter(socket, this.boundary, () => this.onDead())
    this.#admission = new LinkAdmission({
      boundary: this.boundary,
      node: this.node,
      trust: parts.trust,
      admission: parts.admission,
      proofs: parts.proofs,
      statementOf: (pull) => this.#statement({ isOwn: false, pull }),
      onChange: () => this.swarms.recheck(),
      refuse: (pull) => this.#sendPull({ type: 'refused', pull }),
    })
    this.#shown = new ShownPulls({
      statementOf: (pull) => this.#statement({ isOwn: true, pull }),
      isWanted: (pull) => this.swarms.wants(pull),
      send: (message) => this.#sendPull(message),
    })
    this.swarms = new LinkSwarms(this, {
      hostOf: parts.hostOf,
      admission: this.#admission,
      budget: this.#budget,
      hashesId: () => this.#remote!.ids.shoal_hashes,
    })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    const broken = (cause: Error) => this.close(new PeerLostError('connection error', { cause }))
    socket.on('error', this.boundary.callback(broken))
    const gone = () => this.close(undefined)
    socket.on('close', this.boundary.callback(gone))
    const late = () => this.isOpen || this.close(new PeerProtocolError('no handshake in time'))
    this.#after(HANDSHAKE_MS_MAX, late)
    const over = () => this.close(new PeerOutdatedError('a certificate has expired'))
    this.#after(this.endMs - Date.now(), over)
    this.#watchIdle()
    this.#sendHandshakes()
  }

  get node(): NodeId {
    return this.claims.node
  }
  /** Both handshakes are through. */
  get isOpen(): boolean {
    return this.#remote !== undefined
  }
  /** When the first of both link certificates ends. */
  get endMs(): number {
    return Math.min(...this.certificates.map(({ validToDate }) => validToDate.getTime()))
  }
  /** What the other side serves and queues. */
  get limits(): SourceLimits {
    const { blockBytesMax, requestsQueuedMax } = this.#remote!
    return { blockBytes: blockBytesMax, requestsMax: requestsQueuedMax, hasFast: true }
  }
  /** Where the other side says that it accepts links. */
  get listenPort(): number | undefined {
    return this.#remote?.listenPort
  }
  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress
  }

  /** This link's claim to its place at the node that accepted it. */
  get place(): Place {
    const { movedAtMs, isAsking } = this.swarms
    const state = !this.isOpen ? 'opening' : isAsking ? 'asking' : 'quiet'
    return { network: this.network, movedAtMs: Math.max(movedAtMs, this.#sinceMs), state }
  }

  /** @param chunk may be reused by the caller afterwards */
  receive(chunk: Buffer): void {
    if (!this.#isClosed) this.boundary.run(() => this.#reader.push(chunk))
  }

  /** Never throws. */
  close(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    // First: nothing is sent after a failure in the lines below.
    this.#socket.destroy()
    for (const timer of this.#timers) clearTimeout(timer)
    this.#admission.close()
    this.writer.close()
    this.boundary.run(() => this.swarms.ended(reason))
    this.boundary.run(() => this.#parts.onClosed(this, reason))
  }

  /** The other side accepts nothing any more. */
  onDead(): void {
    this.close(new PeerProtocolError('the other side does not read'))
  }

  /** Another link has taken its place: closes it once nothing is on it any more. */
  retire(): void {
    const look = () => {
      if (this.swarms.isEmpty) this.close(undefined)
      else this.#after(RETIRED_LOOK_MS, look)
    }
    this.#after(RETIRED_LOOK_MS, look)
  }

  /** Part of what moves on it, or may be asked for, is blocked. */
  get isBlocked(): boolean {
    const { blocks } = this.#parts.trust
    return (
      this.swarms.carries(blocks) || this.#admission.pulls.some(({ claims }) => blocks.hasRepository(claims))
    )
  }

  /** Revocations, trust or keys have changed. */
  recheck(): void {
    this.boundary.run(() => this.#admission.recheck())
  }

  // --- what this side sends ----------------------------------------------------------------------------------

  /** Shows the pull to the other side, unless it knows this certificate. */
  openPull(grant: Grant): void {
    if (!this.#isClosed) this.#shown.open(grant, Date.now())
  }

  /** A grant's certificate is new. */
  renewPull(grant: Grant): void {
    // It may have been refused: the other side heard first of what made it new.
    const isUsed = this.#shown.has(grant.pull) || this.swarms.wants(grant.pull)
    if (isUsed && this.isOpen) this.boundary.run(() => this.openPull(grant))
  }

  send(message: SentMessage, number: number): void {
    this.writer.addMessage(encodeMessage(message, number))
  }

  openNumber(number: number, swarm: SwarmId): void {
    this.#extended('shoal_swarm', encodeSwarmMessage({ type: 'open', number, swarm }))
  }

  closeNumber(number: number): void {
    if (this.#isClosed) return
    this.swarms.forget(number)
    this.#extended('shoal_swarm', encodeSwarmMessage({ type: 'closed', number }))
  }

  /** Where a block arrives that goes on to the file: one for all blobs, as blocks come one after the other. */
  get block(): Uint8Array {
    this.#block ??= Buffer.allocUnsafeSlow(BLOCK_BYTES_MAX)
    return this.#block
  }

  discardBlock(number: number): void {
    if (this.swarms.arriving === number) this.#reader.discardBlock()
  }

  #sendPull(message: Parameters<typeof encodePullMessage>[0]): void {
    this.#extended('shoal_pull', encodePullMessage(message))
  }

  #extended(name: LinkExtension, payload: Buffer): void {
    if (!this.#isClosed)
      this.send({ type: 'extended', extension: this.#remote!.ids[name], payload }, LINK_NUMBER)
  }

  #sendHandshakes(): void {
    const { node, version, listenPort } = this.#parts
    this.writer.addMessage(
      encodeHandshake({ swarm: this.#name, peer: node(), hasFast: true, hasExtensions: true }),
    )
    const payload = encodeLinkHandshake({
      requestsQueuedMax: REQUESTS_QUEUED_MAX,
      blockBytesMax: BLOCK_BYTES_MAX,
      listenPort: listenPort(),
      version,
    })
    this.send({ type: 'extended', extension: 0, payload }, LINK_NUMBER)
  }

  // --- what the other side sends -------------------------------------------------------------------------------

  onHandshake(handshake: Handshake): void {
    if (handshake.swarm !== this.#name) throw new PeerProtocolError('handshake for another link')
    if (handshake.peer !== this.node) throw new PeerRefusedError("peer id is not the certificate's node")
    if (!handshake.hasFast || !handshake.hasExtensions)
      throw new PeerProtocolError('a link without the fast extension or the extension protocol')
  }

  onKeepAlive(): void {
    this.#budget.spend({ type: 'keep-alive' }, Date.now())
  }

  onMessage(message: Message, number: number): void {
    this.#heardAtMs = Date.now()
    if (number === LINK_NUMBER) this.#onLinkMessage(message)
    else this.swarms.take(message, number)
  }

  onBlockStart(block: BlockAddress, number: number): Uint8Array | undefined {
    this.#heardAtMs = Date.now()
    return this.swarms.blockStarts(block, number)
  }

  onBlockEnd(block: BlockAddress, number: number): void {
    this.swarms.blockEnds(block, number)
  }

  #onLinkMessage(message: Message): void {
    if (message.type !== 'extended') return void this.#budget.spend(message, Date.now())
    const { extension, payload } = message
    if (this.#remote === undefined) {
      if (extension !== 0) throw new PeerProtocolError('a message before the handshake')
      this.#remote = decodeLinkHandshake(payload)
      return void this.#parts.onOpen(this)
    }
    switch (extension) {
      case LINK_EXTENSION_IDS.shoal_pull:
        return void this.#onPull(payload)
      case LINK_EXTENSION_IDS.shoal_swarm:
        return void this.swarms.takeOpening(payload)
      default:
        return void this.#budget.spend(message, Date.now())
    }
  }

  #onPull(payload: Buffer): void {
    this.#budget.spend({ type: 'pull' }, Date.now())
    const message = decodePullMessage(payload)
    if (message.type === 'refused') this.#shown.refused(message.pull)
    else this.#admission.take({ ...message, type: message.type } as Parameters<LinkAdmission['take']>[0])
  }

  /** What is signed to open a pull on this link, by this side or by the other. */
  #statement({ isOwn, pull }: { isOwn: boolean; pull: X509Certificate }): PullStatement {
    const [remote, local] = this.certificates as [X509Certificate, X509Certificate]
    const [opener, holder] = isOwn ? [local, remote] : [remote, local]
    const cluster = this.#parts.trust.cluster as ClusterId
    const role = isOwn === this.isDialler ? 'dialler' : 'acceptor'
    return statementOf({ role, cluster, exporter: this.#exporter, opener, holder, pull })
  }

  // --- time ----------------------------------------------------------------------------------------------------

  #watchIdle(): void {
    const look = () => {
      const isQuiet = Date.now() - this.#heardAtMs >= LINK_IDLE_MS
      if (isQuiet && this.swarms.closeUnread()) return this.close(undefined)
      this.#watchIdle()
    }
    this.#after(LINK_IDLE_MS / 4, look)
  }

  #after(delayMs: number, act: () => void): void {
    const timer = setTimeout(this.boundary.callback(act), Math.max(0, Math.min(delayMs, 2 ** 31 - 1)))
    timer.unref()
    this.#timers.push(timer)
  }
}
