import { BoundedMap } from '../../core/bounded-map.ts'
import type { PieceLayout } from '../../core/metainfo.ts'
import { ReadClosedError } from '../errors.ts'

interface Waiter {
  reader: object
  isDone(): boolean
  resolve(): void
  reject(error: Error): void
}

/** Bytes from the start of a part that are fetched although the reader asked for fewer: it may go on a little. */
export const READ_AHEAD_BYTES = 2 * 1024 * 1024
/** Bound of remembered ends of parts; the oldest are forgotten. */
export const PART_ENDS_MAX = 64

/** What a reader needs, in bytes: [start, end) of the blob. */
export interface Part {
  start: number
  end: number
}

/** The local readers of one blob: the position of each, what it needs, and what it waits for. */
export class Readers {
  readonly #layout: PieceLayout
  readonly #positions = new Map<object, number>()
  /** The pieces that each needs; a reader without an entry needs all. */
  readonly #needs = new Map<object, { from: number; to: number }>()
  readonly #partEnds = new BoundedMap<number, true>(PART_ENDS_MAX)
  readonly #waiters = new Set<Waiter>()

  constructor(layout: PieceLayout) {
    this.#layout = layout
  }

  get count(): number {
    return this.#positions.size
  }

  /**
   * Tells what a reader will read, before it moves for the first time. A small part is fetched with a window after its start.
   * A reader needs the whole blob if it asks for it, reads to its end from afar, or goes on where another part ended.
   * @returns whether it needs no more than a part
   */
  expect(reader: object, { start, end }: Part): boolean {
    const { blobBytes, pieceBytes } = this.#layout
    const isToEnd = end === blobBytes && (start === 0 || end - start > READ_AHEAD_BYTES)
    if (isToEnd || this.#partEnds.has(start)) return false
    const to = Math.ceil(Math.min(blobBytes, Math.max(end, start + READ_AHEAD_BYTES)) / pieceBytes)
    this.#needs.set(reader, { from: Math.floor(start / pieceBytes), to })
    return true
  }

  /** The reader has read its part: whoever begins here goes on. */
  hasRead({ end }: Part): void {
    this.#partEnds.set(end, true)
  }

  /** Some reader needs the piece. */
  needs(piece: number): boolean {
    for (const reader of this.#positions.keys()) {
      const need = this.#needs.get(reader)
      if (need === undefined || (piece >= need.from && piece < need.to)) return true
    }
    return false
  }

  /** The first piece that a reader waits for; undefined with no readers. */
  get position(): number | undefined {
    return this.#positions.size === 0 ? undefined : Math.min(...this.#positions.values())
  }

  /** @returns true when this is the first reader */
  move(reader: object, piece: number): boolean {
    const isFirst = this.#positions.size === 0
    this.#positions.set(reader, piece)
    return isFirst
  }

  /** Pending waits of the reader end with READ_CLOSED. @returns true when this was the last reader */
  remove(reader: object): boolean {
    this.#reject(new ReadClosedError('the reader was closed'), (waiter) => waiter.reader === reader)
    this.#needs.delete(reader)
    return this.#positions.delete(reader) && this.#positions.size === 0
  }

  /**
   * Resolves when `isDone`, which `wake` checks. Rejects with the reason given to `fail`, or when the reader is
   * removed.
   */
  async until(reader: object, isDone: () => boolean): Promise<void> {
    if (isDone()) return
    await new Promise<void>((resolve, reject) => this.#waiters.add({ reader, isDone, resolve, reject }))
  }

  wake(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.isDone()) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }

  fail(reason: Error): void {
    this.#reject(reason, () => true)
  }

  #reject(reason: Error, isMeant: (waiter: Waiter) => boolean): void {
    for (const waiter of this.#waiters) {
      if (!isMeant(waiter)) continue
      this.#waiters.delete(waiter)
      waiter.reject(reason)
    }
  }
}
