import { describe, expect, it } from 'vitest'
import { agoText, durationText, utcSecondsText, utcText } from '../../core/time-text.ts'

describe('a duration', () => {
  it.each([
    [-5, '0 ms'],
    [0.42, '0.42 ms'],
    [99.4, '99 ms'],
    [999, '999 ms'],
    [9_940, '9.9 s'],
    [99_400, '99 s'],
    [100_000, '2 min'],
    [3_599_000, '1 h'],
    [11_520_000, '3 h 12 min'],
    [172_740_000, '47 h 59 min'],
    [172_800_000, '2 days'],
    [729 * 86_400_000, '729 days'],
    [3650 * 86_400_000, '10 years'],
  ])('of %d ms is %s', (ms, text) => expect(durationText(ms)).toBe(text))

  it.each([
    [-1000, 'now'],
    [59_999, 'now'],
    [60_000, '60 s ago'],
    [300_000, '5 min ago'],
    [11_520_000, '3 h ago'],
    [8 * 86_400_000, '8 days ago'],
  ])('of %d ms ago is %s in a table', (ms, text) => expect(agoText(ms)).toBe(text))
})

it('a time is in UTC, and says so', () => {
  expect(utcText('2026-11-30T12:00:05.123Z')).toBe('2026-11-30 12:00 UTC')
  expect(utcSecondsText(Date.parse('2026-11-30T14:00:05+02:00'))).toBe('2026-11-30 12:00:05 UTC')
})
