import { expect, test } from 'vitest'
import { ColdReads } from '../../../client/store/cold-reads.ts'

const SLOW_MS = 5
const FAST_MS = 0.02

function readsUntilWarm(reads: ColdReads): number {
  let count = 0
  while (reads.take()) count += 1
  return count
}

test('one slow read between fast ones keeps reads on the event loop', () => {
  const reads = new ColdReads()
  for (const ms of [FAST_MS, SLOW_MS, FAST_MS, SLOW_MS, FAST_MS]) {
    expect(reads.take()).toBe(false)
    reads.took(ms)
  }
})

test('two slow reads in a row send the next 32 to the thread pool, and from then on each slow one does', () => {
  const reads = new ColdReads()
  reads.took(SLOW_MS)
  reads.took(SLOW_MS)
  expect(readsUntilWarm(reads)).toBe(32)
  reads.took(SLOW_MS)
  expect(readsUntilWarm(reads)).toBe(32)
  reads.took(FAST_MS)
  reads.took(SLOW_MS)
  expect(reads.take()).toBe(false)
})
