import pino from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TrackerUnavailableError } from '../../../client/errors.ts'
import { SILENT_MS_MAX } from '../../../client/membership/tracker-state.ts'
import { LOOK_AGAIN_MS, LOOK_PATIENCE_MS, TrackerWatch } from '../../../client/membership/tracker-watch.ts'
import { Conditions } from '../../../core/conditions.ts'

/** How long a tracker that runs takes to answer, or a machine to refuse a connection. */
const SOON_MS = 20

let watch: TrackerWatch
let heartbeat: () => Promise<void>
let inFlight: Promise<void> | undefined

beforeEach(() => {
  vi.useFakeTimers()
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  watch = new TrackerWatch({ trackerUrl: 'https://tracker.example', conditions })
  watch.onProbeWanted = () => {
    inFlight ??= watch
      .probe(heartbeat)
      .catch(() => undefined)
      .finally(() => {
        inFlight = undefined
      })
    return inFlight
  }
  inFlight = undefined
  heartbeat = answered
})
afterEach(() => void vi.useRealTimers())

const answered = () => new Promise<void>((resolve) => setTimeout(resolve, SOON_MS))
const refused = () => failed(SOON_MS)
const failed = (afterMs: number) =>
  new Promise<never>((_, reject) =>
    setTimeout(() => reject(new TrackerUnavailableError('no answer')), afterMs),
  )
/** As a call to a frozen tracker: it ends when the watch gives up. */
const unanswered = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(new TrackerUnavailableError('given up')))
  })

/** @returns how long it took, in full tens of ms of the fake clock, where an immediate takes one, and the code of its failure */
async function timed(work: Promise<unknown>): Promise<{ ms: number; code: string | undefined }> {
  const beganAtMs = performance.now()
  const ended = (reason: unknown) => ({
    ms: Math.floor((performance.now() - beganAtMs) / 10) * 10,
    code: (reason as { code?: string } | undefined)?.code,
  })
  const outcome = work.then(ended, ended)
  await vi.advanceTimersByTimeAsync(2 * SILENT_MS_MAX)
  return outcome
}

async function refuseUntilOff(): Promise<void> {
  heartbeat = refused
  for (let times = 0; times < 2; times += 1) await timed(watch.onProbeWanted()!)
  expect(watch.isOff).toBe(true)
}

test('a frozen tracker that was found silent delays no later pull', async () => {
  heartbeat = () => failed(SILENT_MS_MAX)
  expect(await timed(watch.call(unanswered))).toEqual({ ms: SILENT_MS_MAX, code: 'TRACKER_UNAVAILABLE' })
  for (let pull = 0; pull < 3; pull += 1) {
    await vi.advanceTimersByTimeAsync(LOOK_AGAIN_MS)
    expect(await timed(watch.whyNot())).toEqual({ ms: 0, code: 'TRACKER_UNAVAILABLE' })
  }
})

test('the heartbeat that a pull sends to a frozen tracker shows when it is back', async () => {
  heartbeat = () => failed(SILENT_MS_MAX)
  await timed(watch.call(unanswered))
  heartbeat = answered
  await vi.advanceTimersByTimeAsync(LOOK_AGAIN_MS)
  expect(await timed(watch.whyNot())).toMatchObject({ code: 'TRACKER_UNAVAILABLE' })
  expect(await timed(watch.whyNot())).toEqual({ ms: 0, code: undefined })
})

test('a tracker that refused connections is asked again: a pull waits for its answer, or for its refusal', async () => {
  await refuseUntilOff()
  expect(await timed(watch.whyNot())).toEqual({ ms: SOON_MS, code: 'TRACKER_UNAVAILABLE' })
  await vi.advanceTimersByTimeAsync(LOOK_AGAIN_MS)
  heartbeat = answered
  expect(await timed(watch.whyNot())).toEqual({ ms: SOON_MS, code: undefined })
})

test('a tracker that refused connections and then freezes delays one pull, by a quarter of a second', async () => {
  await refuseUntilOff()
  heartbeat = () => failed(SILENT_MS_MAX)
  expect(await timed(watch.whyNot())).toEqual({ ms: LOOK_PATIENCE_MS, code: 'TRACKER_UNAVAILABLE' })
  await vi.advanceTimersByTimeAsync(LOOK_AGAIN_MS)
  expect(await timed(watch.whyNot())).toEqual({ ms: 0, code: 'TRACKER_UNAVAILABLE' })
})

test('silence counts from a heartbeat that was sent before the pull, and from no earlier one', async () => {
  await timed(watch.onProbeWanted()!)
  heartbeat = () => failed(SILENT_MS_MAX)
  void watch.onProbeWanted()
  await vi.advanceTimersByTimeAsync(1_500)
  expect(await timed(watch.call(unanswered))).toEqual({
    ms: SILENT_MS_MAX - 1_500,
    code: 'TRACKER_UNAVAILABLE',
  })
})

test('after a heartbeat without an answer a pull waits for nothing', async () => {
  heartbeat = () => failed(SILENT_MS_MAX)
  void watch.onProbeWanted()
  await vi.advanceTimersByTimeAsync(SILENT_MS_MAX)
  expect(watch.standing).toBe('suspect')
  expect(await timed(watch.call(unanswered))).toEqual({ ms: 0, code: 'TRACKER_UNAVAILABLE' })
  expect(watch.isOff).toBe(true)
})
