import type { BlockAddress } from '../../client/wire/messages.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { Flow, Port } from './port.ts'
import { BLOCK_BYTES, LAYOUT } from './scenarios.ts'

const BLOCKS_PER_PIECE = LAYOUT.pieceBytes / BLOCK_BYTES

export interface RegistryRunOptions {
  from: Port
  to: Port
  pieces: PieceIndex[]
  onPiece(piece: PieceIndex): void
}

/** An answer of the registry: a run of pieces, in order. */
export class RegistryRun implements Flow {
  readonly from: Port
  readonly to: Port
  readonly pieces: PieceIndex[]
  readonly socket: BlockAddress[] = []
  readonly #onPiece: (piece: PieceIndex) => void
  #arrivedBlocks = 0
  #isStopped = false

  constructor(options: RegistryRunOptions) {
    this.from = options.from
    this.to = options.to
    this.pieces = options.pieces
    this.#onPiece = options.onPiece
  }

  get isDone(): boolean {
    return this.#arrivedBlocks === this.pieces.length * BLOCKS_PER_PIECE
  }

  start(): void {
    for (const piece of this.pieces)
      for (let begin = 0; begin < LAYOUT.pieceBytes; begin += BLOCK_BYTES)
        this.from.send(this, { piece, begin, length: BLOCK_BYTES })
  }

  stop(): void {
    this.#isStopped = true
    this.from.close(this)
  }

  onSent(): void {}

  onArrived(block: BlockAddress): void {
    if (this.#isStopped) return
    this.#arrivedBlocks += 1
    if (this.#arrivedBlocks % BLOCKS_PER_PIECE === 0) this.#onPiece(block.piece as PieceIndex)
  }
}
