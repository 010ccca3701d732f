/** The rate of now is a mean over about so long. */
const NOW_MS = 300
/** And over no fewer blocks, however long those take. */
const BLOCKS_MIN = 4
/** The best rate is that of a window of so long: in shorter ones what waited in the kernel comes at once. */
const BEST_MS = 1_000
/** How much of the best rate is believed from window to window: links become slower, too. */
const BEST_KEPT = 0.98
/** With less than this share of the best rate coming in, the link has room. */
const ROOM_BELOW_SHARE = 1 / 2

/** Whether a link is full, as far as can be seen from what comes in. Pure: the clock is passed in, in ms. */
export class LinkRate {
  private bestBytesPerMs = 0
  private windowBytes = 0
  private windowSinceMs: number
  private nowBytesPerMs = 0
  private nowMs = NOW_MS
  private receivedAtMs: number

  constructor(nowMs: number) {
    this.windowSinceMs = nowMs
    this.receivedAtMs = nowMs
  }

  received(bytes: number, nowMs: number): void {
    this.windowBytes += bytes
    const elapsedMs = nowMs - this.windowSinceMs
    if (elapsedMs >= BEST_MS) {
      this.bestBytesPerMs = Math.max(this.bestBytesPerMs * BEST_KEPT, this.windowBytes / elapsedMs)
      this.windowBytes = 0
      this.windowSinceMs = nowMs
      this.nowMs = Math.max(NOW_MS, (BLOCKS_MIN * bytes) / this.bestBytesPerMs)
    }
    this.nowBytesPerMs = this.rateAt(nowMs) + bytes / this.nowMs
    this.receivedAtMs = nowMs
  }

  /** Much less comes in than has come in before. True as well before that is known. */
  hasRoom(nowMs: number): boolean {
    return this.bestBytesPerMs === 0 || this.rateAt(nowMs) < ROOM_BELOW_SHARE * this.bestBytesPerMs
  }

  private rateAt(nowMs: number): number {
    return this.nowBytesPerMs * Math.exp(-(nowMs - this.receivedAtMs) / this.nowMs)
  }
}
