import { expect, test } from 'vitest'
import { BLOB_OUTSTANDING_BYTES_MAX, Pace, STALL_MS_MIN } from '../../client/engine/pace.ts'

const MIB = 1024 * 1024

/** A link that brings so many bytes a ms, measured for ten seconds. */
function paceOf(bytesPerMs: number): Pace {
  const pace = new Pace(0)
  for (let nowMs = 100; nowMs <= 10_000; nowMs += 100) pace.received(bytesPerMs * 100, nowMs)
  return pace
}

test('a fast link has sixteen MiB outstanding, a slow one what it brings in six seconds, and never less than four', () => {
  const roomOf = (pace: Pace) => {
    while (pace.hasRoom) pace.outstandingBytes += MIB
    return pace.outstandingBytes
  }
  expect(roomOf(new Pace(0))).toBe(BLOB_OUTSTANDING_BYTES_MAX)
  expect(roomOf(paceOf(10_000))).toBe(BLOB_OUTSTANDING_BYTES_MAX)
  expect(roomOf(paceOf(1_500))).toBe(9 * MIB)
  expect(roomOf(paceOf(100))).toBe(4 * MIB)
})

test('nothing stalls or is late before what is due could have come twice', () => {
  const pace = paceOf(1_000)
  pace.finished(100)
  expect(pace.stallLimitMs(0)).toBe(400)
  expect(pace.lateAfterMs(0)).toBe(100)
  pace.outstandingBytes = 3_000_000
  expect(pace.lateAfterMs(1_000_000)).toBeCloseTo(8_000)
  expect(pace.stallLimitMs(1_000_000)).toBeCloseTo(16_000)
})

test('before a piece has been timed one may take two seconds, and is late after a pause of a busy machine', () => {
  const pace = new Pace(0)
  expect(pace.stallLimitMs(0)).toBe(2_000)
  expect(pace.lateAfterMs(0)).toBe(STALL_MS_MIN)
})
