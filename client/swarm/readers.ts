import { ReadClosedError } from '../errors.ts'

interface Waiter {
  reader: object
  isDone(): boolean
  resolve(): void
  reject(error: Error): void
}

/** The local readers of one blob: the position of each, and what it waits for. */
export class Readers {
  readonly #positions = new Map<object, number>()
  readonly #waiters = new Set<Waiter>()

  get count(): number {
    return this.#positions.size
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
