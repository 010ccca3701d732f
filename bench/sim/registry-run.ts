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
  readonly socket: BlockAddress[] = []
  readonly #onPiece: (piece: PieceIndex) => void
  /** Requested, and not here yet. */
  readonly #coming = new Set<PieceIndex>()
  #arrivedBlocks = 0
  #isStopped = false

  constructor(options: RegistryRunOptions) {
    this.from = options.from
    this.to = options.to
    this.#onPiece = options.onPiece
  }

  /** Some requested piece is not here yet. */
  get isComing(): boolean {
    return this.#coming.size > 0
  }

  request({ first, end }: { first: number; end: number }): void {
    for (let piece = first; piece < end; piece += 1) {
      this.#coming.add(piece as PieceIndex)
      for (let begin = 0; begin < LAYOUT.pieceBytes; begin += BLOCK_BYTES)
        this.from.send(this, { piece, begin, length: BLOCK_BYTES })
    }
  }

  /** @returns the pieces that were still to come */
  stop(): PieceIndex[] {
    this.#isStopped = true
    this.from.close(this)
    const left = [...this.#coming]
    this.#coming.clear()
    return left
  }

  onSent(): void {}

  onArrived(block: BlockAddress): void {
    if (this.#isStopped) return
    this.#arrivedBlocks += 1
    if (this.#arrivedBlocks % BLOCKS_PER_PIECE !== 0) return
    this.#coming.delete(block.piece as PieceIndex)
    this.#onPiece(block.piece as PieceIndex)
  }
}
