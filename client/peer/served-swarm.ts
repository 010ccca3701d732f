import type { X509Certificate } from 'node:crypto'
import type { CertificateClaims } from '../../core/certificate-claims.ts'
import type { Boundary } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import { allPieces, type NodeId, type PieceIndex } from '../../core/metainfo.ts'
import type { LinkTurns } from '../engine/link-turns.ts'
import { PeerProtocolError } from '../errors.ts'
import { Bitfield } from '../store/bitfield.ts'
import { encodeHashBatch } from '../wire/extensions.ts'
import type { BlockAddress, Message, SentMessage } from '../wire/messages.ts'
import { checkedPiece } from './holder-messages.ts'
import type { ServedLink, SharedHost } from './link-host.ts'
import type { LinkWriter } from './link-writer.ts'
import { PeerLane } from './upload-lane.ts'
import type { LinkOfSwarm } from './wanted-swarm.ts'

export interface ServedSwarmOptions {
  /** What the other side calls it. */
  number: number
  host: SharedHost
  writer: LinkWriter
  turns: LinkTurns
  /** The other side's id for hash batches. */
  hashesId: number
  onServed(block: BlockAddress): void
  onDead(): void
}

/**
 * One blob that the other side of a link downloads. Invariant: hashes, pieces and the unchoke are sent while a live pull of
 * the other side names the blob, and not otherwise.
 */
export class ServedSwarm implements ServedLink {
  readonly certificates: readonly X509Certificate[] = []
  readonly proven = undefined
  readonly lane: PeerLane
  readonly number: number
  readonly host: SharedHost
  readonly #link: LinkOfSwarm
  readonly #hashesId: number
  #isAdmitted = false
  #isClosed = false

  constructor(link: LinkOfSwarm, options: ServedSwarmOptions) {
    const { number, host, writer, turns, hashesId, onServed, onDead } = options
    this.#link = link
    this.number = number
    this.host = host
    this.#hashesId = hashesId
    this.lane = new PeerLane(writer, {
      boundary: link.boundary,
      layout: host.layout,
      number,
      turns,
      confirmsPieces: true,
      hasPiece: (piece) => host.hasPiece(piece),
      piecesHad: () => host.piecesOf(this),
      reject: (block) => this.#send({ ...block, type: 'reject' }),
      onServed,
      onReady: () => host.onUploadWanted(),
      onDead,
    })
  }

  get node(): NodeId {
    return this.#link.node
  }
  get isDialler(): boolean {
    return this.#link.isDialler
  }
  get claims(): CertificateClaims {
    return this.#link.claims
  }
  get boundary(): Boundary {
    return this.#link.boundary
  }

  /** The other side's pulls have changed. */
  admit(isOpen: boolean): void {
    if (isOpen === this.#isAdmitted || this.#isClosed) return
    this.#isAdmitted = isOpen
    if (isOpen) return void this.host.onAdmitted(this)
    this.#send({ type: 'choke' })
    this.lane.refuseAll()
  }

  welcome(batches: readonly HashBatch[], have: Bitfield): void {
    this.announce(batches, [])
    if (have.isFull) this.#send({ type: 'have-all' })
    else if (have.count > 0) this.#send({ type: 'bitfield', bits: have.toBytes() })
    else this.#send({ type: 'have-none' })
    this.#send({ type: 'unchoke' })
  }

  announce(batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    if (!this.#isAdmitted) return
    const extension = this.#hashesId
    for (const batch of batches) this.#send({ type: 'extended', extension, payload: encodeHashBatch(batch) })
    for (const piece of pieces) this.#send({ type: 'have', piece })
  }

  /** @returns false for a message that changed nothing, and for one that costs this side much */
  take(message: Message): boolean {
    const { host, lane } = this
    switch (message.type) {
      case 'request':
        return this.#onRequest(message)
      case 'cancel':
        return lane.cancel(message)
      case 'have':
        return host.onTold(this.node, [checkedPiece(message.piece, host.layout)])
      case 'have-all':
        host.onTold(this.node, allPieces(host.layout))
        return false
      case 'bitfield': {
        const field = Bitfield.fromBytes(message.bits, host.layout.pieceCount)
        host.onTold(
          this.node,
          [...allPieces(host.layout)].filter((piece) => field.has(piece)),
        )
        return false
      }
      case 'interested':
      case 'not-interested':
        lane.isRead = message.type === 'interested'
        return false
      default:
        return false
    }
  }

  close(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#link.closeNumber(this.number)
    this.ended(reason)
  }

  /** The other side has closed it, or the link has ended. */
  ended(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.lane.close()
    this.boundary.run(() => this.host.onClosed(this, reason))
  }

  /** The pull may have ended while the request was on its way: that is no fault of the other side. */
  #onRequest(block: BlockAddress): boolean {
    const piece = checkedPiece(block.piece, this.host.layout)
    if (this.#isAdmitted) return this.lane.ask({ ...block, piece })
    if (block.length <= 0) throw new PeerProtocolError('requested a block that does not exist')
    this.#send({ ...block, type: 'reject' })
    return false
  }

  #send(message: SentMessage): void {
    if (!this.#isClosed) this.#link.send(message, this.number)
  }
}
