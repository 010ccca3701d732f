import { expect, test } from 'vitest'
import {
  RETRY_AFTER_MS_DEFAULT,
  RETRY_AFTER_MS_MAX,
  RegistryLimit,
  retryAfterMs,
} from '../../core/registry-limit.ts'

const NOW_MS = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT')

test.each([
  ['7', 7_000],
  ['0', 0],
  ['Wed, 21 Oct 2026 07:28:30 GMT', 30_000],
  ['Wed, 21 Oct 2026 07:27:00 GMT', 0],
  ['86400', RETRY_AFTER_MS_MAX],
  ['Wed, 21 Oct 2027 07:28:00 GMT', RETRY_AFTER_MS_MAX],
  ['soon', RETRY_AFTER_MS_DEFAULT],
  [undefined, RETRY_AFTER_MS_DEFAULT],
])('Retry-After: %s means a wait of %i ms', (header, ms) => {
  expect(retryAfterMs(header, NOW_MS)).toBe(ms)
})

test('a limit lasts as long as the longest answer said, and only a 429 begins one', () => {
  let nowMs = 0
  const limit = new RegistryLimit(() => nowMs)
  const told: number[] = []
  limit.watch((forMs) => told.push(forMs))
  limit.note({ statusCode: 503, headers: { 'retry-after': '9' } })
  expect(limit.leftMs).toBe(0)
  limit.note({ statusCode: 429, headers: { 'retry-after': '9' } })
  limit.note({ statusCode: 429, headers: { 'retry-after': '2' } })
  expect([limit.leftMs, told]).toEqual([9_000, [9_000]])
  nowMs = 9_000
  expect(limit.leftMs).toBe(0)
})
