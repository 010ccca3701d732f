import { expect, test } from 'vitest'
import { LOAD_SAMPLE_MS, LoopLoad, type LoopUse, meterLoop } from '../../../client/store/loop-load.ts'

/** Shares of the elapsed time, and of the busy time. */
interface Shares {
  busy: number
  onProcessor: number
}
/** As measured: one downloader on two cores, and four. */
const ALONE = { busy: 0.98, onProcessor: 0.9 }
const ALONE_WITH_THREAD = { busy: 0.85, onProcessor: 0.55 }
const CROWDED = { busy: 0.98, onProcessor: 0.3 }
const SLOW_NETWORK = { busy: 0.2, onProcessor: 0.95 }

function loadOf() {
  let nowMs = 0
  let use: LoopUse
  const load = new LoopLoad(
    () => nowMs,
    () => use,
  )
  const pass = ({ busy, onProcessor }: Shares, samples: number, elapsedMs = LOAD_SAMPLE_MS) => {
    for (let sample = 0; sample < samples; sample++) {
      nowMs += elapsedMs
      use = { elapsedMs, busyMs: elapsedMs * busy, processorMs: elapsedMs * busy * onProcessor }
      load.isForThread()
    }
    return load.isForThread()
  }
  return { load, pass }
}

test('a full loop beside free cores gets a thread, and keeps it although the thread takes some of its time', () => {
  const { load, pass } = loadOf()
  expect(load.isForThread()).toBe(true)
  expect(pass(ALONE_WITH_THREAD, 100)).toBe(true)
})

test('without free cores everything runs in the loop, until they are free again', () => {
  const { pass } = loadOf()
  expect(pass(CROWDED, 8)).toBe(false)
  expect(pass(ALONE_WITH_THREAD, 100)).toBe(false)
  expect(pass(ALONE, 8)).toBe(true)
  expect(pass(CROWDED, 8)).toBe(false)
})

test('a loop that waits for the network needs no thread', () => {
  const { pass } = loadOf()
  expect(pass(SLOW_NETWORK, 8)).toBe(false)
  expect(pass(ALONE, 10)).toBe(true)
})

test('one odd sample decides nothing, and a short time is no sample', () => {
  const { pass } = loadOf()
  pass(ALONE, 20)
  expect(pass(CROWDED, 1)).toBe(true)
  pass(ALONE, 20)
  expect(pass(CROWDED, 1, LOAD_SAMPLE_MS - 1)).toBe(true)
})

test('the meter sees a loop that works, and one that waits', async () => {
  const lastUse = meterLoop()
  await new Promise((resolve) => setTimeout(resolve, 200))
  const idle = lastUse()
  expect(idle.elapsedMs).toBeGreaterThan(150)
  expect(idle.busyMs).toBeLessThan(idle.elapsedMs / 2)
  const untilMs = performance.now() + 100
  while (performance.now() < untilMs);
  const busy = lastUse()
  expect(busy.busyMs).toBeGreaterThan(90)
  expect(busy.processorMs).toBeGreaterThan(5)
  expect(busy.processorMs).toBeLessThan(busy.busyMs * 1.2)
})
