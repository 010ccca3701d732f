/** The local readers of one blob: where each is, and what each waits for. */
export class Readers {
  private readonly positions = new Map<object, number>()
  private readonly waiters = new Set<{ isDone(): boolean; resolve(): void; reject(error: Error): void }>()

  get count(): number {
    return this.positions.size
  }

  /** The first piece that a reader waits for; undefined with no readers. */
  get position(): number | undefined {
    return this.positions.size === 0 ? undefined : Math.min(...this.positions.values())
  }

  /** @returns true when this is the first reader */
  move(reader: object, piece: number): boolean {
    const isFirst = this.positions.size === 0
    this.positions.set(reader, piece)
    return isFirst
  }

  /** @returns true when this was the last reader */
  remove(reader: object): boolean {
    return this.positions.delete(reader) && this.positions.size === 0
  }

  /** Resolves when `isDone`, which `wake` has checked; rejects with what `fail` is given. */
  async until(isDone: () => boolean): Promise<void> {
    if (isDone()) return
    await new Promise<void>((resolve, reject) => this.waiters.add({ isDone, resolve, reject }))
  }

  wake(): void {
    for (const waiter of this.waiters) {
      if (!waiter.isDone()) continue
      this.waiters.delete(waiter)
      waiter.resolve()
    }
  }

  fail(reason: Error): void {
    for (const waiter of this.waiters) waiter.reject(reason)
    this.waiters.clear()
  }
}
