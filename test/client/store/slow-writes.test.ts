import { expect, test } from 'vitest'
import { QUICK_WRITES_MIN, SLOW_WRITE_MS, SlowWrites } from '../../../client/store/slow-writes.ts'

test('one slow write sends the next ones off the event loop, until enough in a row were quick', () => {
  const writes = new SlowWrites()
  writes.took(SLOW_WRITE_MS)
  expect(writes.isSlow).toBe(false)
  writes.took(SLOW_WRITE_MS + 1)
  for (let quick = 1; quick < QUICK_WRITES_MIN; quick++) writes.took(0.03)
  expect(writes.isSlow).toBe(true)
  // Slow again, in the thread: the count begins anew.
  writes.took(SLOW_WRITE_MS + 1)
  for (let quick = 1; quick < QUICK_WRITES_MIN; quick++) writes.took(0.03)
  expect(writes.isSlow).toBe(true)
  writes.took(0.03)
  expect(writes.isSlow).toBe(false)
})
