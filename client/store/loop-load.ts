/** What the event loop did in a stretch of time, in milliseconds. */
export interface LoopUse {
  elapsedMs: number
  /** It was not waiting for events. */
  busyMs: number
  /** Its thread was on a processor. */
  processorMs: number
}

/** Time between two samples of the event loop's load: a shorter one would measure single callbacks. */
export const LOAD_SAMPLE_MS = 50
/** Weight of the newest sample. */
const SMOOTHING = 0.3
/**
 * Shares from which the loop counts as full and the cores as free, and below which they no longer do. One downloader on
 * two cores hashes in the loop at 0.98 and 0.9, with a second thread at 0.9 and 0.6; four downloaders on them have 0.2
 * to 0.4 of a core when they want one.
 */
const FULL_SHARE = { from: 0.9, below: 0.5 }
const FREE_SHARE = { from: 0.75, below: 0.45 }

/**
 * Decides which thread hashes and writes what arrives. Done in the event loop while it is in the processor's cache it
 * costs the least, which is what counts when cores are scarce, and all that is needed where the network is slower than
 * one core. When the loop is full and other cores are free, the node is faster with the verifying thread beside it
 * (measured, one downloader on two cores: about 1.2 times). A loop that is busy and not on a processor waits for one,
 * whoever uses it: that holds in containers with a quota, too. Pure: what the loop used is passed in.
 */
export class LoopLoad {
  #fullShare = 1
  #freeShare = 1
  #isForThread = true
  #sampledAtMs: number
  readonly #nowMs: () => number
  readonly #lastUse: () => LoopUse

  /** @param lastUse what the loop used since the last call */
  constructor(nowMs: () => number = () => performance.now(), lastUse = meterLoop()) {
    this.#nowMs = nowMs
    this.#lastUse = lastUse
    this.#sampledAtMs = nowMs()
  }

  /** Another thread should hash and write the next piece. */
  isForThread(): boolean {
    if (this.#nowMs() - this.#sampledAtMs >= LOAD_SAMPLE_MS) this.#sample()
    return this.#isForThread
  }

  #sample(): void {
    this.#sampledAtMs = this.#nowMs()
    const { elapsedMs, busyMs, processorMs } = this.#lastUse()
    this.#fullShare += SMOOTHING * (busyMs / elapsedMs - this.#fullShare)
    // While the loop waits for events, nothing shows whether a core is free.
    if (busyMs > 0) this.#freeShare += SMOOTHING * (Math.min(1, processorMs / busyMs) - this.#freeShare)
    const isStaying = this.#fullShare >= FULL_SHARE.below && this.#freeShare >= FREE_SHARE.below
    const isBeginning = this.#fullShare >= FULL_SHARE.from && this.#freeShare >= FREE_SHARE.from
    this.#isForThread = isBeginning || (this.#isForThread && isStaying)
  }
}

/** Measures this thread's event loop. @returns what it used since the last call */
export function meterLoop(): () => LoopUse {
  let loop = performance.eventLoopUtilization()
  let processor = process.threadCpuUsage()
  return () => {
    const [loopNow, processorNow] = [performance.eventLoopUtilization(), process.threadCpuUsage()]
    const { active, idle } = performance.eventLoopUtilization(loopNow, loop)
    const microseconds = processorNow.user + processorNow.system - processor.user - processor.system
    loop = loopNow
    processor = processorNow
    return { elapsedMs: active + idle, busyMs: active, processorMs: microseconds / 1000 }
  }
}
