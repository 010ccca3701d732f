import { describe, expect, it } from 'vitest'
import {
  type Evictable,
  inEvictionOrder,
  LAST_COPIES_SHARE_MAX,
  WANTED_MS,
} from '../../../client/store/eviction.ts'

const NOW_MS = 1e12
const MIB = 1024 * 1024

function orderOf(blobs: Record<string, Partial<Evictable> & { agoMs: number }>, bytesMax = 100 * MIB) {
  return inEvictionOrder(Object.keys(blobs), {
    of: (name) => ({
      bytes: MIB,
      isWhole: true,
      others: undefined,
      usedAtMs: NOW_MS - blobs[name]!.agoMs,
      ...blobs[name],
    }),
    nowMs: NOW_MS,
    bytesMax,
  })
}

describe('what makes room', () => {
  it('is the least recently used while nothing is known of other holders', () => {
    expect(orderOf({ new: { agoMs: 1 }, old: { agoMs: 9 }, middle: { agoMs: 5 } })).toEqual([
      'old',
      'middle',
      'new',
    ])
  })

  it('is the last copy in the cluster last, the least recently used of those first', () => {
    const order = orderOf({
      'last, old': { agoMs: 9_000, others: 0 },
      'last, new': { agoMs: 8_000, others: 0 },
      'held elsewhere': { agoMs: 5, others: 1 },
      'not known': { agoMs: 7 },
    })
    expect(order).toEqual(['not known', 'held elsewhere', 'last, old', 'last, new'])
  })

  it('spares no last copy that nobody has wanted for long, and no part of a blob', () => {
    const order = orderOf({
      forgotten: { agoMs: WANTED_MS + 1, others: 0 },
      part: { agoMs: 100, others: 0, isWhole: false },
      common: { agoMs: 50, others: 3 },
    })
    expect(order).toEqual(['forgotten', 'part', 'common'])
  })

  it('spares last copies in a share of the cache only, the newest of them', () => {
    const names = ['a', 'b', 'c', 'd'].map((name, at) => [name, { agoMs: at + 1, others: 0 }] as const)
    const order = orderOf({ ...Object.fromEntries(names), common: { agoMs: 0, others: 1 } }, 4 * MIB)
    expect(LAST_COPIES_SHARE_MAX).toBe(1 / 2)
    expect(order).toEqual(['d', 'c', 'common', 'b', 'a'])
  })
})

/**
 * Nodes with small caches pull images, some of which many want and most of which few do. What is in no cache comes from the
 * registry. Every node hears of other holders once in a round, as with heartbeats.
 */
function simulate({
  knowsOthers,
  nodes = 12,
  rounds = 60,
}: {
  knowsOthers: boolean
  nodes?: number
  rounds?: number
}) {
  const random = mulberry(7)
  const [images, held] = [120, 12]
  const caches = Array.from({ length: nodes }, () => new Map<number, { usedAtMs: number; others?: number }>())
  const asked = { all: 0, registry: 0, here: 0 }
  let nowMs = 0
  const zipf = () => Math.floor(images ** random()) - 1
  for (let round = 0; round < rounds; round++) {
    for (const cache of caches) {
      for (const [blob, entry] of cache)
        if (knowsOthers) entry.others = caches.filter((other) => other !== cache && other.has(blob)).length
      for (let pull = 0; pull < 2; pull++) {
        nowMs += 60_000
        const blob = zipf()
        asked.all += 1
        if (cache.has(blob)) asked.here += 1
        else if (!caches.some((other) => other.has(blob))) asked.registry += 1
        if (!cache.has(blob) && cache.size >= held) {
          const [victim] = inEvictionOrder([...cache.keys()], {
            of: (name) => ({ bytes: 1, isWhole: true, others: undefined, ...cache.get(name)! }),
            nowMs,
            bytesMax: held,
          })
          cache.delete(victim!)
        }
        cache.set(blob, { usedAtMs: nowMs })
      }
    }
  }
  return { registryShare: asked.registry / asked.all, hereShare: asked.here / asked.all }
}

function mulberry(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

describe('a cluster whose nodes spare last copies', () => {
  it('asks the registry for less than one that only looks at the last use, at little cost to its own hits', () => {
    const [with_, without] = [simulate({ knowsOthers: true }), simulate({ knowsOthers: false })]
    if (process.env.SHOAL_TEST_FIGURES) console.log({ with_, without })
    expect(with_.registryShare).toBeLessThan(0.8 * without.registryShare)
    expect(with_.hereShare).toBeGreaterThan(0.75 * without.hereShare)
  })
})
