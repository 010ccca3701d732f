import type { HashBatch } from '../../core/hash-batch.ts'
import type { PieceIndex } from '../../core/metainfo.ts'

/** Joins the announcements of one turn of the event loop, so that every peer gets them in one write. */
export class Announcements {
  readonly #send: (batches: HashBatch[], pieces: PieceIndex[]) => void
  #due: { pieces: PieceIndex[]; batches: HashBatch[] } | undefined

  constructor(send: (batches: HashBatch[], pieces: PieceIndex[]) => void) {
    this.#send = send
  }

  add(batches: HashBatch[], pieces: PieceIndex[]): void {
    if (!this.#due) {
      this.#due = { pieces: [], batches: [] }
      setImmediate(() => this.#flush())
    }
    this.#due.pieces.push(...pieces)
    this.#due.batches.push(...batches)
  }

  #flush(): void {
    const due = this.#due
    this.#due = undefined
    if (due) this.#send(due.batches, due.pieces)
  }
}
