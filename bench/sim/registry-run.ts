import type { BlockAddress } from '../../client/wire/messages.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { Flow, Port } from './port.ts'
import { BLOCK_BYTES, LAYOUT } from './scenarios.ts'

const BLOCKS_PER_PIECE = LAYOUT.pieceBytes / BLOCK_BYTES

export interface RegistryRunOptions {
  from: Port
  to: Port
  onPiece(piece: PieceIndex): void
}

/** Answers of the registry to the requests of one lease, one after the other: pieces in order. */
export class RegistryRun implements Flow {
  readonly from: Port
  readonly to: Port
  /** Requested, and not here yet. */
  coming = 0
  readonly socket: BlockAddress[] = []
  readonly #onPiece: (piece: PieceIndex) => void
  #arrivedBlocks = 0
  #isStopped = false

  constructor(options: RegistryRunOptions) {
    this.from = options.from
    this.to = options.to
    this.#onPiece = options.onPiece
  }

  request({ first, end }: { first: number; end: number }): void {
    for (let piece = first; piece < end; piece += 1) {
      this.coming += 1
      for (let begin = 0; begin < LAYOUT.pieceBytes; begin += BLOCK_BYTES)
        this.from.send(this, { piece, begin, length: BLOCK_BYTES })
    }
  }

  stop(): void {
    this.#isStopped = true
    this.from.close(this)
  }

  onSent(): void {}

  onArrived(block: BlockAddress): void {
    if (this.#isStopped) return
    this.#arrivedBlocks += 1
    if (this.#arrivedBlocks % BLOCKS_PER_PIECE !== 0) return
    this.coming -= 1
    this.#onPiece(block.piece as PieceIndex)
  }
}
