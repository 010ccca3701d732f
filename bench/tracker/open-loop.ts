import { setTimeout as delay } from 'node:timers/promises'
import { percentileOf } from './report.ts'

/** Between two looks at what is due. */
const LOOK_MS = 1
/** For the answers of what was sent, once nothing more is sent. */
const LAST_ANSWERS_MS_MAX = 20_000

export interface OpenLoopOptions {
  perSecond: number
  seconds: number
  /** Sends one request. @returns when it is answered */
  send: () => Promise<unknown>
  random?: () => number
}

export interface OpenLoopResult {
  sent: number
  answered: number
  /** From the first intended send time to the last answer. */
  seconds: number
  p50Ms: number
  p99Ms: number
  /** How late the generator itself sent, at most: above some ms it is the generator that was measured. */
  generatorLateMs: number
}

/**
 * Sends requests at times that do not depend on the answers, as independent nodes do (exponential gaps). Each time is counted
 * from the moment at which the request was to be sent: who waits for a slow answer does not hide the wait of the next.
 */
export async function openLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const { perSecond, seconds, send, random = Math.random } = options
  const tookMs: number[] = []
  const running = new Set<Promise<void>>()
  const startMs = performance.now()
  let dueMs = startMs + gapMs(perSecond, random)
  let sent = 0
  let generatorLateMs = 0
  while (dueMs < startMs + seconds * 1000) {
    const nowMs = performance.now()
    if (nowMs < dueMs) {
      await delay(LOOK_MS)
      continue
    }
    generatorLateMs = Math.max(generatorLateMs, nowMs - dueMs)
    const intendedMs = dueMs
    const answer = send().then(() => void tookMs.push(performance.now() - intendedMs))
    running.add(answer)
    void answer.then(() => running.delete(answer)).catch(() => undefined)
    sent += 1
    dueMs += gapMs(perSecond, random)
  }
  // A failed request fails the run; one without an answer counts as not answered.
  const late = new AbortController()
  await Promise.race([
    Promise.all(running),
    delay(LAST_ANSWERS_MS_MAX, undefined, { signal: late.signal }).catch(() => undefined),
  ])
  late.abort()
  return {
    sent,
    answered: tookMs.length,
    seconds: Math.max(seconds, (performance.now() - startMs) / 1000),
    p50Ms: percentileOf(tookMs, 0.5),
    p99Ms: percentileOf(tookMs, 0.99),
    generatorLateMs,
  }
}

function gapMs(perSecond: number, random: () => number): number {
  return (-Math.log(1 - random()) * 1000) / perSecond
}
