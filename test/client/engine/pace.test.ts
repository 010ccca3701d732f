import { describe, expect, it, test } from 'vitest'
import { LinkRate } from '../../../client/engine/link-rate.ts'
import { Pace } from '../../../client/engine/pace.ts'

const MIB = 1024 * 1024

/** A link that brings so many bytes a ms, measured for ten seconds. */
function paceOf(bytesPerMs: number): Pace {
  const pace = new Pace(0)
  for (let nowMs = 100; nowMs <= 10_000; nowMs += 100) pace.received(bytesPerMs * 100, nowMs)
  return pace
}

test('a fast link has 32 MiB of pieces in flight, a slow one the bytes of six seconds, and at least four MiB', () => {
  const roomOf = (pace: Pace) => {
    while (pace.hasRoom(false, () => pace.dueBytes)) pace.begun(MIB)
    return pace.inFlightBytes
  }
  expect(roomOf(new Pace(0))).toBe(32 * MIB)
  expect(roomOf(paceOf(10_000))).toBe(32 * MIB)
  expect(roomOf(paceOf(1_500))).toBe(9 * MIB)
  expect(roomOf(paceOf(100))).toBe(4 * MIB)
  const stuck = paceOf(100)
  stuck.dueBytes = 4 * MIB
  expect([stuck.hasRoom(false, () => stuck.dueBytes), stuck.hasRoom(true, () => stuck.dueBytes)]).toEqual([
    false,
    true,
  ])
  expect(stuck.hasRoom(false, () => 4 * MIB - 1)).toBe(true)
})

test('nothing stalls before the bytes due from others could have arrived four times', () => {
  const pace = paceOf(1_000)
  pace.finished(100)
  expect(pace.stallLimitMs(0)).toBe(400)
  expect(pace.stallLimitMs(4_000_000)).toBeCloseTo(16_000)
})

test('over a full link nothing is late; with room, a piece is late after twice the time of the bytes due from others and a mean piece, or 300 ms', () => {
  const pace = paceOf(1_000)
  pace.finished(100)
  expect(pace.lateAfterMs(0, 10_000)).toBe(Number.POSITIVE_INFINITY)
  expect(pace.lateAfterMs(0, 10_400)).toBe(100)
  expect(pace.lateAfterMs(75_000, 10_400)).toBeCloseTo(150)
  expect(pace.lateAfterMs(4_000_000, 10_400)).toBe(300)
})

test('a link does not count as full by the few bytes of a small blob from slow peers', () => {
  const pace = new Pace(0)
  pace.dueBytes = MIB
  for (let nowMs = 200; nowMs <= 3_000; nowMs += 200) pace.received(16_384, nowMs)
  expect(pace.lateAfterMs(0, 3_000)).toBe(300)
  pace.dueBytes = 128 * 1024
  expect(pace.lateAfterMs(0, 3_000)).toBe(Number.POSITIVE_INFINITY)
})

test('a pause without requests does not count as slowness', () => {
  const pace = paceOf(1_000)
  pace.resume(100_000)
  pace.received(100_000, 100_100)
  expect(pace.stallLimitMs(1_000_000)).toBeCloseTo(4_000)
})

test('the time before the first request does not make a link seem slow, and so full', () => {
  const pace = new Pace(0)
  pace.resume(60_000)
  for (let nowMs = 60_100; nowMs <= 60_500; nowMs += 100) pace.received(100_000, nowMs)
  expect(pace.lateAfterMs(0, 61_500)).toBe(300)
})

test('before a piece has been timed one may take two seconds, and is late after 300 ms', () => {
  const pace = new Pace(0)
  expect(pace.stallLimitMs(0)).toBe(2_000)
  expect(pace.lateAfterMs(0, 0)).toBe(300)
})

describe('a link is full', () => {
  it('while at least half of its best rate arrives', () => {
    const link = new LinkRate(0)
    expect(link.isFull(0), 'nothing is known').toBe(false)
    for (let nowMs = 100; nowMs <= 3_000; nowMs += 100) link.received(100_000, nowMs)
    expect(link.isFull(3_000)).toBe(true)
    for (let nowMs = 3_100; nowMs <= 5_000; nowMs += 100) link.received(70_000, nowMs)
    expect(link.isFull(5_000)).toBe(true)
    for (let nowMs = 5_100; nowMs <= 6_000; nowMs += 100) link.received(30_000, nowMs)
    expect(link.isFull(6_000)).toBe(false)
  })

  it('also between two blocks, however slow it is', () => {
    const link = new LinkRate(0)
    for (let nowMs = 700; nowMs <= 14_000; nowMs += 700) link.received(512 * 1024, nowMs)
    expect(link.isFull(14_690)).toBe(true)
    expect(link.isFull(16_800)).toBe(false)
  })

  it('also when it was faster before', () => {
    const link = new LinkRate(0)
    for (let nowMs = 100; nowMs <= 2_000; nowMs += 100) link.received(300_000, nowMs)
    for (let nowMs = 2_100; nowMs <= 60_000; nowMs += 100) link.received(100_000, nowMs)
    expect(link.isFull(60_000)).toBe(true)
  })

  it('by its rate, not by the time before the first request', () => {
    const link = new LinkRate(0)
    link.resume(60_000)
    for (let nowMs = 60_100; nowMs <= 61_500; nowMs += 100) link.received(100_000, nowMs)
    expect([link.isFull(61_500), link.isFull(62_500)]).toEqual([true, false])
  })
})
