import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { timed } from '../../proxy/timed-reads.ts'
import { addWait, addWaits, noWaits, WAIT_BUCKETS_MAX, waitAt } from '../../proxy/waits.ts'

const of = (waits: number[]) => {
  const sum = noWaits()
  for (const ms of waits) addWait(sum, ms)
  return sum
}

describe('waits', () => {
  test('give percentiles that are right to a fifth, and never outgrow their buckets', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.3, max: 40_000, noNaN: true }), { minLength: 1 }), (waits) => {
        const sorted = waits.toSorted((one, other) => one - other)
        const sum = of(waits)
        for (const part of [0.5, 0.99]) {
          const right = sorted[Math.ceil(part * waits.length) - 1]!
          expect(Math.abs(Math.log(waitAt(sum, part)! / right))).toBeLessThan(Math.log(1.2))
        }
        expect(sum.buckets.length).toBeLessThanOrEqual(WAIT_BUCKETS_MAX)
      }),
    )
    expect(of([0, 1e-9, 1e12, Number.MAX_VALUE]).buckets).toHaveLength(WAIT_BUCKETS_MAX)
    expect(waitAt(noWaits(), 0.5)).toBeUndefined()
  })

  test('of several layers are those of one with all their chunks', () => {
    const sum = of([1, 5])
    addWaits(sum, of([300, 2]))
    expect(sum).toEqual(of([1, 5, 300, 2]))
  })
})

test('a wait counts for the source that grew, without the time in which the client takes the chunk', async () => {
  const sources = { peers: 0, registry: 0, cache: 0 }
  const told: [string, number][] = []
  async function* chunks() {
    for (const source of ['cache', 'peers', 'registry'] as const) {
      if (source === 'peers') await new Promise((resolve) => setTimeout(resolve, 60))
      sources[source] += 10
      yield Buffer.alloc(10)
    }
  }
  const slow = timed(chunks(), sources, { waited: (source, ms) => void told.push([source, ms]) })
  for await (const _ of slow) await new Promise((resolve) => setTimeout(resolve, 80))
  expect(told.map(([source]) => source)).toEqual(['cache', 'peers', 'registry'])
  const [cache = 0, peers = 0, registry = 0] = told.map(([, ms]) => ms)
  expect(peers).toBeGreaterThanOrEqual(55)
  expect(cache).toBeLessThan(55)
  expect(registry).toBeLessThan(55)
})
