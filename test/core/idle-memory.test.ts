import { expect, it, vi } from 'vitest'
import { collectAll, collectWhenIdle } from '../../core/idle-memory.ts'

it('collects once in each quiet time, and never in a busy one', () => {
  vi.useFakeTimers()
  try {
    let usedMs = 0
    let collections = 0
    const collect = () => {
      collections += 1
      usedMs += 500
    }
    const end = collectWhenIdle({ lookMs: 1000, cpuMs: () => usedMs, collect })
    const look = (busyMs: number) => {
      usedMs += busyMs
      vi.advanceTimersByTime(1000)
      return collections
    }
    expect([look(50), look(2), look(50), look(2)]).toEqual([0, 0, 0, 0])
    expect([look(2), look(2), look(2)]).toEqual([1, 1, 1])
    expect([look(20), look(2), look(2), look(2)]).toEqual([1, 1, 2, 2])
    end()
    expect([look(20), look(2), look(2)]).toEqual([2, 2, 2])
  } finally {
    vi.useRealTimers()
  }
})

it('gives memory back', async () => {
  const held = new WeakRef(Array.from({ length: 10_000 }, (_, index) => ({ index })))
  // A WeakRef is held until the current job ends.
  await new Promise((resolve) => setImmediate(resolve))
  collectAll()
  expect(held.deref()).toBeUndefined()
  expect('gc' in globalThis).toBe(false)
})
