import { createHash, type X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { type CertificateClaims, claimsOf, type PullClaims } from '../../core/certificate-claims.ts'
import { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { InfoHash, NodeId, PieceIndex, PieceLayout, SwarmId } from '../../core/metainfo.ts'
import type { ProofBinding, TokenProver } from '../../core/token-proof/index.ts'
import type { BlobKey } from '../client.ts'
import type { Bitfield } from '../engine/bitfield.ts'
import type { SourceLimits, SourcePort } from '../engine/download.ts'
import type { UploadLane } from '../engine/upload-queue.ts'
import { PeerProtocolError, PeerRefusedError } from '../errors.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import {
  decodeExtensionHandshake,
  decodeHashBatch,
  decodeProof,
  EXTENSION_IDS,
  type ExtensionHandshake,
  encodeExtensionHandshake,
  encodeHashBatch,
  encodeProof,
  type ProofMessage,
  REQUESTS_QUEUED_FOREIGN,
} from '../wire/extensions.ts'
import { FrameReader, type FrameSink } from '../wire/frame-reader.ts'
import { encodeHandshake, type Handshake } from '../wire/handshake.ts'
import {
  BLOCK_BYTES_FOREIGN,
  BLOCK_BYTES_MAX,
  BLOCK_HEADER_BYTES,
  type BlockAddress,
  encodeMessage,
  type Message,
  writeBlockHeader,
} from '../wire/messages.ts'
import type { SendBuffers } from './send-buffers.ts'

/** What a link tells the swarm that it belongs to. Everything may throw a ShoalError to end the link. */
export interface LinkHost {
  readonly swarm: SwarmId
  readonly node: NodeId
  readonly blob: BlobKey
  readonly layout: PieceLayout
  readonly version: string
  readonly isUploadOnly: boolean
  isRevoked(claims: CertificateClaims): boolean
  /** Present while this node downloads with a token. */
  prover(): TokenProver | undefined
  needsProof(): boolean
  checkCertificate(claims: CertificateClaims): PullClaims
  checkProof(claims: PullClaims, message: ProofMessage, binding: ProofBinding, certificateKey: string): void
  hasPiece(piece: PieceIndex): boolean
  /** Both handshakes are through: the link counts as connected. */
  onOpen(link: PeerLink, limits: SourceLimits): void
  /** The other side may download: tell it what there is. */
  onAdmitted(link: PeerLink): void
  onBatch(link: PeerLink, batch: HashBatch): void
  onOffer(link: PeerLink, pieces: PieceIndex[] | 'all'): void
  onOfferBits(link: PeerLink, bits: Buffer): void
  onChoke(link: PeerLink, isChoked: boolean): void
  onBlockStart(link: PeerLink, block: BlockAddress): Uint8Array | undefined
  onBlockEnd(link: PeerLink, block: BlockAddress): void
  onReject(link: PeerLink, block: BlockAddress): void
  onUploadWanted(): void
  onClosed(link: PeerLink, reason: ShoalError | undefined): void
}

/** Requests of one peer that wait for their answer; more are rejected (BEP 6). Announced as `reqq`. */
export const REQUESTS_QUEUED_MAX = 256
/** Blocks being read or written for one peer, whatever their size: an eighth of the node's send buffers, 1 MiB. */
const LANE_BLOCKS_MAX = 8
/** What may wait in a socket that the other side does not read: a full lane and a lot of small messages. */
const UNSENT_BYTES_MAX = 8 * 1024 * 1024
/** From the first byte to the end of both handshakes. */
const HANDSHAKE_MS_MAX = 10_000
/** A lane whose socket takes nothing, or whose piece does not arrive, for so long keeps nobody from being served. */
const LANE_STALLED_MS = 1_000
/** A socket that has taken nothing for so long is closed: what waits in it is send buffers that others lack. */
const LANE_DEAD_MS = 5_000
/** Each costs a window of requests. BEP 3 advises one in ten seconds at most; no certificate lasts for so many. */
const CHOKES_MAX = 1000
const EXPORTER_LABEL = 'EXPORTER-shoal-token-proof-v1'
const EXPORTER_BYTES = 32

/**
 * One connection to one peer for one swarm, after TLS. Invariants: until the other side is admitted (certificate,
 * then proof) it is sent nothing but the handshakes and this side's own proof; the link ends no later than either
 * side's certificate. A link whose info-hash is not the swarm's id is to a stock client: it has no token and no Shoal
 * extensions, so it opens with the first handshake, and only where no proof is needed.
 */
export class PeerLink implements FrameSink, SourcePort, UploadLane {
  readonly isDialler: boolean
  readonly claims: CertificateClaims
  readonly queue: BlockAddress[] = []
  piece: number | undefined
  private readonly socket: TLSSocket
  private readonly host: LinkHost
  private readonly infoHash: InfoHash
  private readonly remoteCertificate: X509Certificate
  private readonly localCertificate: X509Certificate
  private readonly reader = new FrameReader(this)
  private readonly unsent: Buffer[] = []
  private readonly timers: NodeJS.Timeout[] = []
  private remote: ExtensionHandshake | undefined
  private handshake: Handshake | undefined
  private limits: SourceLimits | undefined
  private laneBlocks = 0
  /** The last piece served, until the other side says that it has come or is not wanted any more. */
  private unconfirmed: number | undefined
  private laneMovedAtMs = Date.now()
  private laneTimer: NodeJS.Timeout | undefined
  private chokes = 0
  private isAdmitted = false
  private isProofSent = false
  private isClosed = false
  private isFlushDue = false

  /** @param socket an authorised TLS 1.3 socket whose chain was verified against the cluster's authorities */
  constructor(socket: TLSSocket, options: { host: LinkHost; infoHash: InfoHash; isDialler: boolean }) {
    this.socket = socket
    this.host = options.host
    this.infoHash = options.infoHash
    this.isDialler = options.isDialler
    this.remoteCertificate = socket.getPeerX509Certificate()!
    this.localCertificate = socket.getX509Certificate()!
    this.claims = claimsOf(this.remoteCertificate)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    socket.on('error', (error) => this.close(new PeerProtocolError('connection error', { cause: error })))
    socket.on('close', () => this.close(undefined))
    socket.on('drain', () => this.host.onUploadWanted())
    this.after(
      HANDSHAKE_MS_MAX,
      () => !this.limits && this.close(new PeerProtocolError('no handshake in time')),
    )
    this.endWithCertificates()
    this.sendHandshakes()
  }

  get node(): NodeId {
    return this.claims.node
  }

  /** Of both sides. */
  get certificates(): X509Certificate[] {
    return [this.remoteCertificate, this.localCertificate]
  }

  private get isStock(): boolean {
    return this.infoHash !== this.host.swarm
  }

  private get hasFast(): boolean {
    return this.handshake?.hasFast === true
  }

  /** The other side may be sent pieces. */
  get isServing(): boolean {
    return this.isAdmitted
  }

  /** @param chunk may be reused by the caller afterwards */
  receive(chunk: Buffer): void {
    if (this.isClosed) return
    try {
      this.reader.push(chunk)
    } catch (error) {
      if (!(error instanceof ShoalError)) throw error
      this.close(error)
    }
  }

  close(reason: ShoalError | undefined): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const timer of this.timers) clearTimeout(timer)
    clearTimeout(this.laneTimer)
    this.socket.destroy()
    this.host.onClosed(this, reason)
  }

  // --- what this side sends ----------------------------------------------------------------------------------

  request(block: BlockAddress): void {
    this.send({ type: 'request', ...block })
  }

  cancel(block: BlockAddress): void {
    this.send({ type: 'cancel', ...block })
  }

  /**
   * A cancel of what has come changes nothing by BEP 3. Since a kernel buffers whole pieces, this is how a holder learns
   * that one has arrived; a `have` is not for those who have proven no token.
   */
  received(piece: PieceIndex): void {
    if (!this.isStock) this.cancel({ piece, begin: 0, length: this.limits!.blockBytes })
  }

  discardBlock(): void {
    this.reader.discardBlock()
  }

  /** The hashes go first: a piece is never announced before its hash was sent on the same connection. */
  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    if (!this.isAdmitted) return
    const extension = this.remote?.ids.shoal_hashes
    if (extension !== undefined) {
      for (const batch of batches) this.send({ type: 'extended', extension, payload: encodeHashBatch(batch) })
    }
    for (const piece of pieces) this.send({ type: 'have', piece })
  }

  /** First words to an admitted peer: hashes, pieces, and that it may ask. */
  welcome(batches: readonly HashBatch[], have: Bitfield): void {
    this.announce(batches, [])
    if (have.isFull && this.hasFast) this.send({ type: 'have-all' })
    else if (have.count > 0) this.send({ type: 'bitfield', bits: have.toBytes() })
    else if (this.hasFast) this.send({ type: 'have-none' })
    this.send({ type: 'unchoke' })
  }

  /** Shows the token's signing input and a proof of its signature, bound to this connection; once. */
  proveToken(): void {
    const extension = this.remote?.ids.shoal_proof
    const prover = this.host.prover()
    // A socket that has just been destroyed has no exporter any more; its close is on the way.
    if (!prover || extension === undefined || this.isProofSent || this.socket.destroyed) return
    this.isProofSent = true
    const proof = prover.prove({
      role: this.isDialler ? 'dialler' : 'acceptor',
      exporter: this.exporter(),
      proverCertificate: fingerprintOf(this.localCertificate),
      verifierCertificate: fingerprintOf(this.remoteCertificate),
    })
    this.send({
      type: 'extended',
      extension,
      payload: encodeProof({ signingInput: prover.signingInput, proof }),
    })
    this.send({ type: 'interested' })
  }

  private sendHandshakes(): void {
    this.write(
      encodeHandshake({ swarm: this.infoHash, peer: this.host.node, hasFast: true, hasExtensions: true }),
    )
    if (!this.isStock) this.sendExtensionHandshake()
  }

  private sendExtensionHandshake(): void {
    const payload = encodeExtensionHandshake({
      requestsQueuedMax: REQUESTS_QUEUED_MAX,
      blockBytesMax: BLOCK_BYTES_MAX,
      isUploadOnly: this.host.isUploadOnly,
      version: this.host.version,
    })
    this.send({ type: 'extended', extension: 0, payload })
  }

  /** BEP 6: a request that gets no block gets this; without the extension, silence. */
  private reject({ piece, begin, length }: BlockAddress): void {
    if (this.hasFast) this.send({ type: 'reject', piece, begin, length })
  }

  private send(message: Exclude<Message, { type: 'unknown' }>): void {
    this.write(encodeMessage(message))
  }

  private write(bytes: Buffer): void {
    if (this.isClosed) return
    this.unsent.push(bytes)
    if (this.isFlushDue) return
    // Joined into one write per turn: a TLS record for each small message would cost more than the message.
    this.isFlushDue = true
    queueMicrotask(() => this.flush())
  }

  private flush(): void {
    this.isFlushDue = false
    if (this.isClosed || this.unsent.length === 0) return
    const bytes = this.unsent.length === 1 ? this.unsent[0]! : Buffer.concat(this.unsent)
    this.unsent.length = 0
    this.socket.write(bytes)
    if (this.socket.writableLength > UNSENT_BYTES_MAX) {
      this.close(new PeerProtocolError('the other side does not read'))
    }
  }

  // --- serving -------------------------------------------------------------------------------------------------

  canWrite(): boolean {
    return !this.isClosed && this.laneBlocks < LANE_BLOCKS_MAX
  }

  isSending(): boolean {
    return this.laneBlocks > 0 || this.unconfirmed !== undefined
  }

  isStalled(): boolean {
    return this.isSending() && Date.now() - this.laneMovedAtMs > LANE_STALLED_MS
  }

  /** Reads the block and sends it. @returns false when no buffer is free: ask again when one is */
  serve(block: BlockAddress, file: Pick<StoredBlob, 'readBlock'>, buffers: SendBuffers): boolean {
    const buffer = buffers.acquire()
    if (!buffer) return false
    if (this.laneBlocks === 0) this.laneMovedAtMs = Date.now()
    this.laneBlocks += 1
    if (!this.isStock) this.unconfirmed = block.piece
    this.watchLane()
    const done = () => {
      this.laneBlocks -= 1
      this.laneMovedAtMs = Date.now()
      buffers.release(buffer)
      this.host.onUploadWanted()
    }
    const position = block.piece * this.host.layout.pieceBytes + block.begin
    file.readBlock(buffer, { at: BLOCK_HEADER_BYTES, length: block.length, position }, (isRead) => {
      if (!isRead || this.isClosed) {
        this.reject(block)
        // Not at once: the queue still holds this block, and would be asked for it again from in here.
        queueMicrotask(done)
        return
      }
      this.flush()
      writeBlockHeader(buffer, block)
      this.socket.write(buffer.subarray(0, BLOCK_HEADER_BYTES + block.length), done)
    })
    return true
  }

  /** The other side has received the piece, or wants no more of it. */
  private confirm(piece: number): void {
    if (piece !== this.unconfirmed) return
    this.unconfirmed = undefined
    this.laneMovedAtMs = Date.now()
    this.host.onUploadWanted()
  }

  private watchLane(): void {
    if (this.laneTimer || this.isClosed) return
    this.laneTimer = setTimeout(() => {
      this.laneTimer = undefined
      if (!this.isSending()) return
      const isDead = this.laneBlocks > 0 && Date.now() - this.laneMovedAtMs > LANE_DEAD_MS
      if (isDead) return this.close(new PeerProtocolError('the other side does not read'))
      if (this.laneBlocks > 0 || !this.isStalled()) this.watchLane()
      // Others may have waited for this lane.
      this.host.onUploadWanted()
    }, LANE_STALLED_MS)
    this.laneTimer.unref()
  }

  // --- what the other side sends -------------------------------------------------------------------------------

  onHandshake(handshake: Handshake): void {
    if (handshake.swarm !== this.infoHash) throw new PeerProtocolError('handshake for another swarm')
    if (!this.isStock && handshake.peer !== this.claims.node)
      throw new PeerRefusedError("peer id is not the certificate's node")
    if (handshake.peer === this.host.node) throw new PeerProtocolError('connected to itself')
    this.handshake = handshake
    if (this.isStock) this.openStock(handshake)
  }

  /** BEP 6: what there is comes right after the handshake, also when that is nothing. */
  private openStock({ hasFast, hasExtensions }: Handshake): void {
    this.open({ blockBytes: BLOCK_BYTES_FOREIGN, requestsMax: REQUESTS_QUEUED_FOREIGN, hasFast })
    if (!this.isAdmitted && hasFast) this.send({ type: 'have-none' })
    if (hasExtensions) this.sendExtensionHandshake()
    if (!this.host.isUploadOnly) this.send({ type: 'interested' })
  }

  private open(limits: SourceLimits): void {
    this.limits = limits
    this.host.onOpen(this, limits)
    if (!this.host.needsProof() && this.claims.kind === 'pull') this.admit(this.claims)
  }

  onMessage(message: Message): void {
    switch (message.type) {
      case 'extended':
        this.onExtended(message.extension, message.payload)
        break
      case 'request':
        this.onRequest(message)
        break
      case 'cancel':
        this.onCancel(message)
        break
      case 'have':
        this.host.onOffer(this, [this.checkedPiece(message.piece)])
        break
      case 'have-all':
        this.host.onOffer(this, 'all')
        break
      case 'bitfield':
        this.host.onOfferBits(this, message.bits)
        break
      case 'choke':
      case 'unchoke':
        this.countChokes(message.type)
        this.host.onChoke(this, message.type === 'choke')
        break
      case 'reject':
        this.host.onReject(this, message)
        break
      // Interest changes nothing here: every admitted peer is unchoked. Suggestions are not needed.
    }
  }

  onBlockStart(block: BlockAddress): Uint8Array | undefined {
    return this.host.onBlockStart(this, block)
  }

  onBlockEnd(block: BlockAddress): void {
    this.host.onBlockEnd(this, block)
  }

  private onExtended(extension: number, payload: Buffer): void {
    if (extension === 0) this.onExtensionHandshake(decodeExtensionHandshake(payload))
    else if (extension === EXTENSION_IDS.shoal_proof) this.onProof(decodeProof(payload))
    else if (extension === EXTENSION_IDS.shoal_hashes)
      this.host.onBatch(this, decodeHashBatch(payload, this.host.swarm))
  }

  private onExtensionHandshake(remote: ExtensionHandshake): void {
    if (this.remote) return
    this.remote = remote
    const requestsMax = remote.requestsQueuedMax
    if (this.isStock) {
      this.limits!.requestsMax = requestsMax
      return
    }
    this.open({ blockBytes: remote.blockBytesMax, requestsMax, hasFast: this.hasFast })
    this.proveToken()
  }

  private onProof(message: ProofMessage): void {
    if (this.isAdmitted) return
    const claims = this.host.checkCertificate(this.claims)
    const binding: ProofBinding = {
      role: this.isDialler ? 'acceptor' : 'dialler',
      exporter: this.exporter(),
      proverCertificate: fingerprintOf(this.remoteCertificate),
      verifierCertificate: fingerprintOf(this.localCertificate),
    }
    this.host.checkProof(claims, message, binding, keyOf(this.remoteCertificate))
    this.admit(claims)
  }

  private admit(claims: CertificateClaims): void {
    this.host.checkCertificate(claims)
    if (this.host.isRevoked(claims)) throw new PeerRefusedError('revoked')
    this.isAdmitted = true
    this.host.onAdmitted(this)
  }

  private countChokes(type: 'choke' | 'unchoke'): void {
    if (type === 'choke') this.chokes += 1
    if (this.chokes > CHOKES_MAX) throw new PeerProtocolError('chokes without end')
  }

  private onRequest(block: BlockAddress): void {
    if (!this.isAdmitted) throw new PeerRefusedError('asked for a piece before it was admitted')
    const piece = this.checkedPiece(block.piece)
    const { layout } = this.host
    const pieceEnd = Math.min(layout.pieceBytes, layout.blobBytes - piece * layout.pieceBytes)
    const isBlock =
      block.length > 0 && block.length <= BLOCK_BYTES_MAX && block.begin + block.length <= pieceEnd
    if (!isBlock) throw new PeerProtocolError('asked for a block that does not exist')
    const { begin, length } = block
    if (!this.host.hasPiece(piece) || this.queue.length >= REQUESTS_QUEUED_MAX) {
      this.reject(block)
    } else {
      this.queue.push({ piece, begin, length })
      this.host.onUploadWanted()
    }
  }

  /** BEP 6: a cancelled request is answered too, by the block when it is on its way, else by a reject. */
  private onCancel({ piece, begin, length }: BlockAddress): void {
    const at = this.queue.findIndex((block) => block.piece === piece && block.begin === begin)
    if (at >= 0) {
      this.queue.splice(at, 1)
      this.reject({ piece, begin, length })
    }
    this.confirm(piece)
  }

  private checkedPiece(piece: number): PieceIndex {
    if (piece >= this.host.layout.pieceCount) throw new PeerProtocolError(`no piece ${piece} in this torrent`)
    return piece as PieceIndex
  }

  private exporter(): Buffer {
    return this.socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0))
  }

  private endWithCertificates(): void {
    const ends = [this.remoteCertificate, this.localCertificate].map(({ validToDate }) =>
      validToDate.getTime(),
    )
    this.after(Math.min(...ends) - Date.now(), () =>
      this.close(new PeerRefusedError('a certificate has ended')),
    )
  }

  private after(delayMs: number, act: () => void): void {
    const timer = setTimeout(act, Math.max(0, Math.min(delayMs, 2 ** 31 - 1)))
    timer.unref()
    this.timers.push(timer)
  }
}

function fingerprintOf(certificate: X509Certificate): Buffer {
  return createHash('sha256').update(certificate.raw).digest()
}

function keyOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest('hex')
}
