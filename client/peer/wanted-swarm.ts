import type { X509Certificate } from 'node:crypto'
import type { CertificateClaims } from '../../core/certificate-claims.ts'
import type { Boundary } from '../../core/defects.ts'
import { ShoalError } from '../../core/errors.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { SourceLimits } from '../engine/download.ts'
import type { Grant } from '../membership/grant.ts'
import { decodeHashBatch } from '../wire/extensions.ts'
import { LINK_EXTENSION_IDS } from '../wire/link-messages.ts'
import type { BlockAddress, Message, SentMessage } from '../wire/messages.ts'
import { takeFromHolder } from './holder-messages.ts'
import type { SharedHost, SourceLink } from './link-host.ts'

/** The link as a swarm on it sees it. */
export interface LinkOfSwarm {
  readonly node: NodeId
  readonly isDialler: boolean
  readonly claims: CertificateClaims
  readonly boundary: Boundary
  readonly limits: SourceLimits
  readonly block: Uint8Array
  send(message: SentMessage, number: number): void
  openPull(grant: Grant): void
  /** The rest of the arriving block goes nowhere, if it is one of this swarm. */
  discardBlock(number: number): void
  /** Neither side sends more about this number. */
  closeNumber(number: number): void
}

/**
 * One blob that this node downloads over a link. It is open once the holder has said something about it; until then the
 * holder may still refuse it.
 */
export class WantedSwarm implements SourceLink {
  readonly isShared = true
  readonly certificates: readonly X509Certificate[] = []
  readonly proven = undefined
  readonly number: number
  readonly host: SharedHost
  readonly #link: LinkOfSwarm
  #isOpen = false
  #isClosed = false

  constructor(link: LinkOfSwarm, { number, host }: { number: number; host: SharedHost }) {
    this.#link = link
    this.number = number
    this.host = host
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
  get isOpen(): boolean {
    return this.#isOpen
  }

  get block(): Uint8Array {
    return this.#link.block
  }

  request(block: BlockAddress): void {
    this.#send({ type: 'request', ...block })
  }

  cancel(block: BlockAddress): void {
    this.#send({ type: 'cancel', ...block })
  }

  /** The holder learns that the piece has left the kernels' buffers. */
  received(piece: PieceIndex): void {
    this.cancel({ piece, begin: 0, length: this.#link.limits.blockBytes })
  }

  discardBlock(): void {
    this.#link.discardBlock(this.number)
  }

  /** The holder needs no hashes: it learns what this node has, so that it serves next what is scarce. */
  announce(_batches: readonly HashBatch[], pieces: readonly PieceIndex[]): void {
    if (!this.#isOpen || this.#isClosed) return
    for (const piece of pieces) this.#send({ type: 'have', piece })
  }

  proveToken(): void {
    const grant = this.host.grant()
    if (grant && !this.#isClosed) this.#link.openPull(grant)
  }

  /** @returns false for a message that changed nothing */
  take(message: Message): boolean {
    if (!this.#isOpen) this.#open()
    if (this.#isClosed) return false
    if (message.type !== 'extended') return takeFromHolder(this.host, this, message) ?? false
    if (message.extension !== LINK_EXTENSION_IDS.shoal_hashes) return false
    return this.host.onBatch(this, decodeHashBatch(message.payload, this.host.swarm))
  }

  /** A reason ends this blob's part of the link only. */
  close(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#link.closeNumber(this.number)
    this.ended(reason)
  }

  /** The other side has closed it, or the link has ended. */
  ended(reason: ShoalError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.boundary.run(() => this.host.onClosed(this, reason))
  }

  #open(): void {
    // The blob may be here by now, or nobody may read it any more.
    if (!this.host.isRead() || this.host.grant() === undefined) return void this.close(undefined)
    this.#isOpen = true
    try {
      this.host.onOpen(this, { ...this.#link.limits })
    } catch (error) {
      if (!(error instanceof ShoalError)) throw error
      return void this.close(error)
    }
    this.#send({ type: 'interested' })
    const have = this.host.announceable()
    if (have.count > 0) this.#send({ type: 'bitfield', bits: have.toBytes() })
  }

  #send(message: SentMessage): void {
    if (!this.#isClosed) this.#link.send(message, this.number)
  }
}
