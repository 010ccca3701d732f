/** Blocks that one connection may have unsent, whatever their size: 1 MiB, an eighth of the node's send buffers. */
export const LINK_BLOCKS_MAX = 8
/** Blocks of one swarm in a row while others of the same connection wait: 256 KiB. */
export const TURN_BLOCKS_MAX = 2

/** One swarm's answers on a connection. */
export interface TurnTaker {
  /** Somebody reads the blob at the other side: it goes before blobs that nobody waits for. */
  readonly isRead: boolean
  /** It is this one's turn, and it may write now. It need not. */
  onTurn(): void
}

/**
 * Shares one connection between the swarms on it: in turns, so that a small blob does not wait for a large one. Invariant:
 * a taker that was refused waits in `#waiting` until its turn. Pure.
 */
export class LinkTurns {
  readonly #waiting = new Set<TurnTaker>()
  #current: TurnTaker | undefined
  #left = 0
  #unsent = 0

  /** Whether this one may write a block now. If not, `onTurn` is called when it may. */
  mayWrite(taker: TurnTaker): boolean {
    if (this.#unsent < LINK_BLOCKS_MAX && this.#isTurnOf(taker)) return true
    this.#waiting.add(taker)
    return false
  }

  /** A block of this one is being read or written. */
  begun(taker: TurnTaker): void {
    this.#unsent += 1
    if (this.#current !== taker) {
      this.#current = taker
      this.#left = TURN_BLOCKS_MAX
    }
    this.#left -= 1
    this.#waiting.delete(taker)
  }

  /** The socket has accepted a block, or it is not sent. */
  ended(): void {
    this.#unsent -= 1
    this.#give()
  }

  /** It sends nothing more. */
  drop(taker: TurnTaker): void {
    this.#waiting.delete(taker)
    if (this.#current !== taker) return
    this.#current = undefined
    this.#give()
  }

  #isTurnOf(taker: TurnTaker): boolean {
    if (this.#current === taker && this.#left > 0) return true
    return this.#waiting.size === 0 || (this.#waiting.size === 1 && this.#waiting.has(taker))
  }

  /** Terminates: each round either writes a block or leaves one taker fewer waiting. */
  #give(): void {
    while (this.#unsent < LINK_BLOCKS_MAX) {
      const next = this.#next()
      if (next === undefined) return
      this.#waiting.delete(next)
      if (this.#current !== next || this.#left === 0) this.#left = TURN_BLOCKS_MAX
      this.#current = next
      next.onTurn()
    }
  }

  #next(): TurnTaker | undefined {
    const current = this.#current
    if (current !== undefined && this.#left > 0 && this.#waiting.has(current)) return current
    let first: TurnTaker | undefined
    for (const taker of this.#waiting) {
      if (taker.isRead) return taker
      first ??= taker
    }
    return first
  }
}
