import { createHash } from 'node:crypto'
import { type Assembly, Download } from '../../client/engine/download.ts'
import { RateLimit } from '../../client/engine/rate-limit.ts'
import { UploadQueue } from '../../client/engine/upload-queue.ts'
import { SEND_BUFFERS_MAX } from '../../client/peer/send-buffers.ts'
import { Bitfield } from '../../client/store/bitfield.ts'
import { BLOCK_BYTES_MAX } from '../../client/wire/messages.ts'
import type { NodeId, PieceIndex } from '../../core/metainfo.ts'
import type { Announcements } from './announcements.ts'
import type { Conn } from './conn.ts'
import type { Port } from './port.ts'
import { BLOCK_BYTES, LAYOUT, type NodePlan } from './scenarios.ts'

/** Blocks in all of a node's sockets: as many bytes as the client has buffers for. */
const IN_SOCKETS_MAX = (SEND_BUFFERS_MAX * BLOCK_BYTES_MAX) / BLOCK_BYTES
/** Nothing is written into them: one piece buffer serves for all. */
const BUFFER = { bytes: new Uint8Array(0), pieceBytes: LAYOUT.pieceBytes, isSecond: false }
const BUFFERS = { acquire: () => BUFFER, release() {} }

export interface SimNodeOptions {
  id: number
  plan: NodePlan
  port: Port
  clock: { nowMs: number }
  announcements: Announcements
  random(): number
  /** A piece has arrived. */
  onPiece(piece: PieceIndex): void
}

/** The registry side of a node. */
export interface NodeOrigin {
  start(): void
  stop(): void
  tick(): void
  moved(from: 'peer' | 'registry'): void
  fetchWhole(): void
  sendWaiting(): void
}

/** A connection, as one of its ends sees it. */
export interface SimLink {
  other: SimNode
  incoming: Conn
  outgoing: Conn
}

/** A node: the shipped download and upload queue, with the client's state around them. */
export class SimNode {
  readonly id: number
  readonly node: NodeId
  readonly plan: NodePlan
  readonly port: Port
  readonly have = new Bitfield(LAYOUT.pieceCount)
  readonly download: Download
  readonly uploads: UploadQueue
  /** Connections in the order in which they were opened: each as a source and as a lane. */
  readonly links: SimLink[] = []
  /** Pieces reserved for the registry. */
  readonly claimed = new Uint8Array(LAYOUT.pieceCount)
  /** Peers that the tracker named and that have not been dialled. */
  known: number[] = []
  inSockets = 0
  /** For each link, in order: the peer, and how many of its announcements were read. */
  readonly peerIds: number[] = []
  readonly #heard: number[] = []
  isUp = false
  doneAtMs: number | undefined
  heartbeatAtMs = 0
  origin!: NodeOrigin
  readonly #clock: { nowMs: number }
  readonly #announcements: Announcements

  constructor({ id, plan, port, clock, announcements, random, onPiece }: SimNodeOptions) {
    this.id = id
    this.node = createHash('sha256').update(`node ${id}`).digest('hex').slice(0, 40) as NodeId
    this.plan = plan
    this.port = port
    this.#clock = clock
    this.#announcements = announcements
    this.uploads = new UploadQueue(LAYOUT, {
      isSeed: () => this.have.isFull,
      piecesHad: () => this.have.count,
      holdersOf: (piece) => this.download.holdersOf(piece),
      nowMs: () => this.nowMs,
      random,
    })
    this.download = new Download({
      node: this.node,
      layout: LAYOUT,
      have: this.have,
      buffers: BUFFERS,
      stream: () => undefined,
      isForThread: () => true,
      isAskable: (piece) => this.claimed[piece] === 0,
      position: () => this.have.firstMissing(),
      onPiece: (assembly: Assembly) => {
        onPiece(assembly.piece)
        this.download.settle(assembly)
      },
      nowMs: () => clock.nowMs,
      random,
      limit: new RateLimit(0, () => clock.nowMs),
      wait() {},
    })
  }

  get nowMs(): number {
    return this.#clock.nowMs
  }

  addLink(link: SimLink): void {
    this.links.push(link)
    this.peerIds.push(link.other.id)
    // A complete node requests nothing, so it proves nothing and is told nothing (client/peer/peer-link.ts).
    this.#heard.push(this.isWanting ? 0 : Number.POSITIVE_INFINITY)
  }

  dropLink(other: SimNode): void {
    const at = this.peerIds.indexOf(other.id)
    this.peerIds.splice(at, 1)
    this.#heard.splice(at, 1)
    this.links.splice(at, 1)[0]!.outgoing.close()
  }

  /** Reads new announcements of peers: with each block, or at once when none is arriving. */
  listen(): void {
    const heard = this.#heard
    const announcements = this.#announcements
    const { peerIds } = this
    for (let at = 0; at < peerIds.length; at += 1) {
      const seen = heard[at]!
      const count = announcements.counts[peerIds[at]!]!
      if (seen >= count) continue
      heard[at] = count
      this.download.offers(this.links[at]!.incoming.source, announcements.since(peerIds[at]!, seen))
    }
  }

  /** The node is downloading. */
  get isWanting(): boolean {
    return this.isUp && this.doneAtMs === undefined
  }

  serve(): void {
    while (this.inSockets < IN_SOCKETS_MAX) {
      const next = this.uploads.peek()
      if (!next) return
      ;(next.lane as Conn).write(next.block)
      this.uploads.taken(next)
    }
  }
}
