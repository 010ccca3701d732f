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
  const one = 'Bearer one'
  limit.note({ statusCode: 503, headers: { 'retry-after': '9' } }, one)
  expect(limit.leftMs(one)).toBe(0)
  limit.note({ statusCode: 429, headers: { 'retry-after': '9' } }, one)
  limit.note({ statusCode: 429, headers: { 'retry-after': '2' } }, one)
  expect([limit.leftMs(one), told]).toEqual([9_000, [9_000]])
  nowMs = 9_000
  expect(limit.leftMs(one)).toBe(0)
})

test('one caller’s limit stops no other, and strangers have one of their own', () => {
  const limit = new RegistryLimit(() => 0)
  limit.note({ statusCode: 429, headers: { 'retry-after': '9' } }, 'Bearer one')
  expect([limit.leftMs('Bearer one'), limit.leftMs('Bearer other'), limit.leftMs(undefined)]).toEqual([
    9_000, 0, 0,
  ])
  limit.note({ statusCode: 429, headers: { 'retry-after': '5' } }, undefined)
  expect([limit.leftMs('Bearer other'), limit.leftMs(undefined)]).toEqual([0, 5_000])
})
