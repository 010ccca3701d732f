import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { CertificateClaims } from '../../core/certificate-claims.ts'
import type { Boundary } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { InfoHash, NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { SourceLimits } from '../engine/download.ts'
import { LinkTurns } from '../engine/link-turns.ts'
import { PeerLostError, PeerOutdatedError, PeerProtocolError, PeerRefusedError } from '../errors.ts'
import type { ProvenToken } from '../membership/admission.ts'
import type { Bitfield } from '../store/bitfield.ts'
import {
  decodeExtensionHandshake,
  decodeHashBatch,
  EXTENSION_IDS,
  type ExtensionHandshake,
  encodeExtensionHandshake,
  encodeHashBatch,
  REQUESTS_QUEUED_FOREIGN,
} from '../wire/extensions.ts'
import { FrameBudget } from '../wire/frame-budget.ts'
import { FrameReader, type FrameSink } from '../wire/frame-reader.ts'
import { encodeHandshake, type Handshake } from '../wire/handshake.ts'
import {
  BLOCK_BYTES_FOREIGN,
  BLOCK_BYTES_MAX,
  type BlockAddress,
  encodeMessage,
  type Message,
} from '../wire/messages.ts'
import { checkedPiece, takeFromHolder } from './holder-messages.ts'
import type { LinkHost, ServedLink, SourceLink } from './link-host.ts'
import { LinkWriter } from './link-writer.ts'
import { PullProof } from './pull-proof.ts'
import { PeerLane, REQUESTS_QUEUED_MAX } from './upload-lane.ts'

/** Time from the first byte to the end of both handshakes. */
const HANDSHAKE_MS_MAX = 10_000

/**
 * One connection to one peer for one swarm, after TLS. Invariants: until the other side is admitted (certificate,
 * then proof) it is sent only the handshakes and this side's own proof; the link ends no later than either side's
 * certificate. A link whose info-hash is not the swarm's id belongs to a stock client. It has no token and no Shoal
 * extensions, so it opens with the first handshake, and only where no proof is needed.
 */
export class PeerLink implements FrameSink, SourceLink, ServedLink {
  readonly isShared = false
  readonly isDialler: boolean
  readonly lane: PeerLane
  readonly proof: PullProof
  /** A failure in here ends this connection only. */
  readonly boundary: Boundary
  readonly #socket: TLSSocket
  readonly #host: LinkHost<PeerLink>
  readonly #infoHash: InfoHash
  readonly #reader = new FrameReader(this)
  readonly #budget: FrameBudget
  readonly #writer: LinkWriter
  readonly #timers: NodeJS.Timeout[] = []
  #remote: ExtensionHandshake | undefined
  #handshake: Handshake | undefined
  #limits: SourceLimits | undefined
  #isAdmitted = false
  #isClosed = false

  /** @param socket an authorised TLS 1.3 socket whose chain was verified against the cluster's authorities */
  constructor(
    socket: TLSSocket,
    options: { host: LinkHost<PeerLink>; infoHash: InfoHash; isDialler: boolean },
  ) {
    this.#socket = socket
    this.#host = options.host
    this.#infoHash = options.infoHash
    this.isDialler = options.isDialler
    this.boundary = this.#host.defects.boundary('peer_link', (reason) => this.close(reason))
    this.proof = new PullProof(socket, options)
    this.#budget = new FrameBudget(Date.now()).widen(this.#host.layout.pieceCount)
    const unread = () => this.close(new PeerProtocolError('the other side does not read'))
    this.#writer = new LinkWriter(socket, this.boundary, unread)
    this.lane = new PeerLane(this.#writer, {
      boundary: this.boundary,
      layout: this.#host.layout,
      turns: new LinkTurns(),
      confirmsPieces: !this.#isStock,
      hasPiece: (piece) => this.#host.hasPiece(piece),
      piecesHad: () => this.#host.piecesOf(this),
      reject: (block) => this.#reject(block),
      onServed: (block) => this.#budget.moved(block),
      onReady: () => this.#host.onUploadWanted(),
      onDead: unread,
    })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    const broken = (cause: Error) => this.close(new PeerLostError('connection error', { cause }))
    socket.on('error', this.boundary.callback(broken))
    const gone = () => this.close(undefined)
    socket.on('close', this.boundary.callback(gone))
    const late = () => this.#limits ?? this.close(new PeerProtocolError('no handshake in time'))
    this.#after(HANDSHAKE_MS_MAX, late)
    for (const certificate of this.proof.certificates) this.#endWith(certificate)
    this.#sendHandshakes()
  }

  get claims(): CertificateClaims {
    return this.proof.claims
  }

  get node(): NodeId {
    return this.claims.node
  }

  get certificates(): readonly X509Certificate[] {
    return this.proof.certificates
  }

  get proven(): ProvenToken | undefined {
    return this.proof.proven
  }

  get #isStock(): boolean {
    return this.#infoHash !== this.#host.swarm
  }
  get #hasFast(): boolean {
    return this.#handshake?.hasFast === true
  }

  /** @param chunk may be reused by the caller afterwards */
  receive(chunk: Buffer): void {
    if (!this.#isClosed) this.boundary.run(() => this.#reader.push(chunk))
  }

  /** Never throws, so that a loop over links ends them all. */
  close(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    // First: nothing is sent after a failure in the lines below.
    this.#socket.destroy()
    for (const timer of this.#timers) clearTimeout(timer)
    this.lane.close()
    this.#writer.close()
    this.boundary.run(() => this.#host.onClosed(this, reason))
  }

  // --- what this side sends ----------------------------------------------------------------------------------

  request(block: BlockAddress): void {
    this.#send({ type: 'request', ...block })
  }

  cancel(block: BlockAddress): void {
    this.#send({ type: 'cancel', ...block })
  }
  /**
   * BEP 3: cancelling an arrived piece changes nothing. A Shoal holder learns that it has left the kernels' buffers.
   */
  received(piece: PieceIndex): void {
    if (!this.#isStock) this.cancel({ piece, begin: 0, length: this.#limits!.blockBytes })
  }

  discardBlock(): void {
    this.#reader.discardBlock()
  }

  /** Hashes go first: a piece is never announced before its hash was sent on the same connection. */
  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    if (!this.#isAdmitted) return
    const extension = this.#remote?.ids.shoal_hashes
    if (extension !== undefined) {
      for (const batch of batches)
        this.#send({ type: 'extended', extension, payload: encodeHashBatch(batch) })
    }
    for (const piece of pieces) this.#send({ type: 'have', piece })
  }

  /** First messages to an admitted peer: hashes, pieces, and the unchoke. */
  welcome(batches: readonly HashBatch[], have: Bitfield): void {
    this.announce(batches, [])
    if (have.isFull && this.#hasFast) this.#send({ type: 'have-all' })
    else if (have.count > 0) this.#send({ type: 'bitfield', bits: have.toBytes() })
    else if (this.#hasFast) this.#send({ type: 'have-none' })
    this.#send({ type: 'unchoke' })
  }

  /** Sends this side's proof that it may download; once. */
  proveToken(): void {
    const messages = this.#remote ? this.proof.messages(this.#remote.ids) : []
    for (const message of messages) this.#send(message)
    if (messages.length > 0) this.#send({ type: 'interested' })
  }

  #sendHandshakes(): void {
    this.#writer.addMessage(
      encodeHandshake({ swarm: this.#infoHash, peer: this.#host.node, hasFast: true, hasExtensions: true }),
    )
    if (!this.#isStock) this.#sendExtensionHandshake()
  }

  #sendExtensionHandshake(): void {
    const payload = encodeExtensionHandshake({
      requestsQueuedMax: REQUESTS_QUEUED_MAX,
      blockBytesMax: BLOCK_BYTES_MAX,
      isUploadOnly: this.#host.isUploadOnly,
      version: this.#host.version,
    })
    this.#send({ type: 'extended', extension: 0, payload })
  }

  /** BEP 6: answers a request that gets no block. Without the extension it sends nothing. */
  #reject({ piece, begin, length }: BlockAddress): void {
    if (this.#hasFast) this.#send({ type: 'reject', piece, begin, length })
  }

  #send(message: Exclude<Message, { type: 'unknown' }>): void {
    this.#writer.addMessage(encodeMessage(message))
  }

  // --- what the other side sends -------------------------------------------------------------------------------

  onHandshake(handshake: Handshake): void {
    if (handshake.swarm !== this.#infoHash) throw new PeerProtocolError('handshake for another swarm')
    if (!this.#isStock && handshake.peer !== this.claims.node)
      throw new PeerRefusedError("peer id is not the certificate's node")
    if (handshake.peer === this.#host.node) throw new PeerProtocolError('connected to itself')
    this.#handshake = handshake
    if (this.#isStock) this.#openStock(handshake)
  }

  /** BEP 6: the stock of pieces follows the handshake, also when it is empty. */
  #openStock({ hasFast, hasExtensions }: Handshake): void {
    this.#open({ blockBytes: BLOCK_BYTES_FOREIGN, requestsMax: REQUESTS_QUEUED_FOREIGN, hasFast })
    if (!this.#isAdmitted && hasFast) this.#send({ type: 'have-none' })
    if (hasExtensions) this.#sendExtensionHandshake()
    if (!this.#host.isUploadOnly) this.#send({ type: 'interested' })
  }

  #open(limits: SourceLimits): void {
    this.#limits = limits
    this.#host.onOpen(this, limits)
    if (!this.#host.needsProof() && this.claims.kind === 'pull') this.#admit(this.claims)
  }

  onMessage(message: Message): void {
    if (!this.#take(message)) this.#budget.spend(message, Date.now(), this.#host.layout.pieceCount)
  }

  onKeepAlive(): void {
    this.#budget.spend({ type: 'keep-alive' }, Date.now())
  }

  /** @returns false for a message that changed nothing, and for one that costs this side much */
  #take(message: Message): boolean {
    switch (message.type) {
      case 'extended':
        return this.#onExtended(message.extension, message.payload)
      case 'request':
        if (!this.#isAdmitted) throw new PeerRefusedError('requested a piece before it was admitted')
        return this.lane.ask({ ...message, piece: checkedPiece(message.piece, this.#host.layout) })
      case 'cancel':
        return this.lane.cancel(message)
      // Interest changes nothing here: every admitted peer is unchoked. Suggestions are not needed.
      default:
        return takeFromHolder(this.#host, this, message) ?? false
    }
  }

  onBlockStart(block: BlockAddress): Uint8Array | undefined {
    const target = this.#host.onBlockStart(this, block)
    if (target) this.#budget.moved(block)
    return target
  }

  onBlockEnd(block: BlockAddress): void {
    this.#host.onBlockEnd(this, block)
  }

  #onExtended(extension: number, payload: Buffer): boolean {
    switch (extension) {
      case 0:
        return this.#remote === undefined && this.#onExtensionHandshake(decodeExtensionHandshake(payload))
      case EXTENSION_IDS.shoal_proof:
        return !this.#isAdmitted && this.#onProof(payload)
      case EXTENSION_IDS.shoal_certificate:
        return this.proof.awaitsCertificate && this.#onCertificate(payload)
      case EXTENSION_IDS.shoal_hashes:
        return this.#host.onBatch(this, decodeHashBatch(payload, this.#host.swarm))
      default:
        return false
    }
  }

  #onExtensionHandshake(remote: ExtensionHandshake): true {
    this.#remote = remote
    const requestsMax = remote.requestsQueuedMax
    if (this.#isStock) this.#limits!.requestsMax = requestsMax
    else {
      this.#open({ blockBytes: remote.blockBytesMax, requestsMax, hasFast: this.#hasFast })
      this.proveToken()
    }
    return true
  }

  #onProof(payload: Buffer): true {
    const claims = this.proof.takeProof(payload, this.boundary.callback(this.#onProof.bind(this)))
    return claims === undefined || this.#admit(claims)
  }

  #onCertificate(payload: Buffer): true {
    const { claims, certificate } = this.proof.takeCertificate(payload)
    this.#endWith(certificate)
    if (!this.#host.needsProof()) this.#admit(claims)
    return true
  }

  #admit(claims: CertificateClaims): true {
    this.#host.checkCertificate(claims)
    if (this.#host.isRevoked(claims)) throw new PeerRefusedError('revoked')
    this.#isAdmitted = true
    this.#host.onAdmitted(this)
    return true
  }

  #endWith({ validToDate }: X509Certificate): void {
    this.#after(validToDate.getTime() - Date.now(), () =>
      this.close(new PeerOutdatedError('a certificate has expired')),
    )
  }

  #after(delayMs: number, act: () => void): void {
    const timer = setTimeout(this.boundary.callback(act), Math.max(0, Math.min(delayMs, 2 ** 31 - 1)))
    timer.unref()
    this.#timers.push(timer)
  }
}
