import { expect, test } from 'vitest'
import { BLOB_OUTSTANDING_BYTES_MAX, Pace } from '../../client/engine/pace.ts'

const MIB = 1024 * 1024

/** A link that brings so many bytes a ms, measured for ten seconds. */
function paceOf(bytesPerMs: number): Pace {
  const pace = new Pace(0)
  for (let nowMs = 100; nowMs <= 10_000; nowMs += 100) pace.received(bytesPerMs * 100, nowMs)
  return pace
}

test('a fast link has sixteen MiB outstanding, a slow one what it brings in six seconds, and never less than four', () => {
  const roomOf = (pace: Pace) => {
    while (pace.hasRoom(false)) pace.outstandingBytes += MIB
    return pace.outstandingBytes
  }
  expect(roomOf(new Pace(0))).toBe(BLOB_OUTSTANDING_BYTES_MAX)
  expect(roomOf(paceOf(10_000))).toBe(BLOB_OUTSTANDING_BYTES_MAX)
  expect(roomOf(paceOf(1_500))).toBe(9 * MIB)
  expect(roomOf(paceOf(100))).toBe(4 * MIB)
  const stuck = paceOf(100)
  stuck.outstandingBytes = 4 * MIB
  expect([stuck.hasRoom(false), stuck.hasRoom(true)]).toEqual([false, true])
})

test('nothing is late before what others owe could have come twice, nor stalls before it could four times', () => {
  const pace = paceOf(1_000)
  pace.finished(100)
  expect([pace.stallLimitMs(0), pace.lateAfterMs(0)]).toEqual([400, 100])
  expect(pace.lateAfterMs(4_000_000)).toBeCloseTo(8_000)
  expect(pace.stallLimitMs(4_000_000)).toBeCloseTo(16_000)
})

test('a pause in which nothing was asked for does not count as slowness', () => {
  const pace = paceOf(1_000)
  pace.resume(100_000)
  pace.received(100_000, 100_100)
  expect(pace.lateAfterMs(1_000_000)).toBeCloseTo(2_000)
})

test('before a piece has been timed one may take two seconds, and is late after half of one', () => {
  const pace = new Pace(0)
  expect(pace.stallLimitMs(0)).toBe(2_000)
  expect(pace.lateAfterMs(0)).toBe(500)
})
