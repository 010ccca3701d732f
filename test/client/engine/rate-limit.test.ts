import { describe, expect, it } from 'vitest'
import { RateLimit } from '../../../client/engine/rate-limit.ts'

const MIB = 1024 * 1024
const BLOCK = 64 * 1024

/** Takers that always want more, each as a loop that sleeps as long as it is told; the clock is simulated. */
function taken(limit: RateLimit, clock: { nowMs: number }, { ms, takers }: { ms: number; takers: number[] }) {
  const bytes = takers.map(() => 0)
  const dueAtMs = takers.map(() => clock.nowMs)
  const keys = takers.map(() => ({}))
  const untilMs = clock.nowMs + ms
  while (clock.nowMs < untilMs) {
    const at = dueAtMs.indexOf(Math.min(...dueAtMs))
    clock.nowMs = Math.max(clock.nowMs, dueAtMs[at]!)
    const waitMs = limit.take(takers[at]!, keys[at]!)
    if (waitMs === 0) bytes[at]! += takers[at]!
    else dueAtMs[at] = clock.nowMs + waitMs
  }
  return bytes
}

describe('a limit', () => {
  it.each([
    [256 * 1024, 16 * 1024],
    [3 * MIB, BLOCK],
    [100 * MIB, 256 * 1024],
    [64 * 1024, 256 * 1024],
  ])('of %i bytes a second lets that many pass, in parts of %i', (bytesPerSecond, part) => {
    const clock = { nowMs: 0 }
    const limit = new RateLimit(bytesPerSecond, () => clock.nowMs)
    const [bytes] = taken(limit, clock, { ms: 60_000, takers: [part] })
    const permitted = bytesPerSecond * (clock.nowMs / 1000)
    const burst = Math.max(256 * 1024, bytesPerSecond * 0.1)
    expect(bytes!).toBeGreaterThan(0.95 * permitted)
    expect(bytes!).toBeLessThanOrEqual(permitted + burst + part)
  })

  it('is shared evenly, however much each takes at once', () => {
    const clock = { nowMs: 0 }
    const limit = new RateLimit(4 * MIB, () => clock.nowMs)
    const bytes = taken(limit, clock, { ms: 20_000, takers: [16 * 1024, 256 * 1024, BLOCK] })
    const all = bytes.reduce((sum, one) => sum + one)
    for (const one of bytes) expect(one / (all / 3)).toBeGreaterThan(0.85)
    expect(all / (4 * MIB * (clock.nowMs / 1000))).toBeGreaterThan(0.95)
  })

  it('gives a newcomer its share from now on, and no more for the time before', () => {
    const clock = { nowMs: 0 }
    const limit = new RateLimit(MIB, () => clock.nowMs)
    taken(limit, clock, { ms: 10_000, takers: [BLOCK] })
    const [old, fresh] = taken(limit, clock, { ms: 10_000, takers: [BLOCK, BLOCK] })
    expect(fresh! / old!).toBeGreaterThan(0.85)
    expect(fresh! / old!).toBeLessThan(1.2)
  })

  it('does not wait for a taker that went away', () => {
    const clock = { nowMs: 0 }
    const limit = new RateLimit(MIB, () => clock.nowMs)
    taken(limit, clock, { ms: 2_000, takers: [BLOCK, BLOCK] })
    const startMs = clock.nowMs
    const [bytes] = taken(limit, clock, { ms: 5_000, takers: [BLOCK] })
    expect(bytes! / (MIB * ((clock.nowMs - startMs) / 1000))).toBeGreaterThan(0.95)
  })

  it('counts from the moment at which it is changed', () => {
    const clock = { nowMs: 0 }
    const limit = new RateLimit(MIB, () => clock.nowMs)
    taken(limit, clock, { ms: 1_000, takers: [BLOCK] })
    limit.change(8 * MIB)
    const [bytes] = taken(limit, clock, { ms: 4_000, takers: [BLOCK] })
    expect(bytes! / (32 * MIB)).toBeGreaterThan(0.9)
    limit.change(0)
    expect(limit.take(1e12)).toBe(0)
    limit.change(MIB)
    const [after] = taken(limit, clock, { ms: 4_000, takers: [BLOCK] })
    expect(after! / (4 * MIB)).toBeLessThan(1.2)
  })
})
