import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BODIES_BYTES_MAX, BodyBudget, SMALL_BODY_BYTES_MAX } from '../../tracker/api/body-budget.ts'
import { ConnectionPlaces, leastOf, oldestOf } from '../../tracker/api/connection-places.ts'
import {
  ALL_HANDSHAKES_BURST_MAX,
  HANDSHAKES_BURST_MAX,
  HANDSHAKES_PER_SECOND_MAX,
  HandshakeBudget,
} from '../../tracker/api/handshake-budget.ts'

interface Visitor {
  network: string
  worth: number
}

const visitor = (network: string, worth = 0): Visitor => ({ network, worth })
const byWorth = (holders: Iterable<Visitor>) => leastOf(holders, ({ worth }) => worth)

describe('places', () => {
  it('are all for one network while nobody else asks', () => {
    const places = new ConnectionPlaces<Visitor>(4, oldestOf)
    for (let at = 0; at < 4; at += 1) expect(places.take(visitor('a'))).toBeUndefined()
    expect(places.taken).toBe(4)
  })

  it('that are taken go to a newcomer, from whoever is worth least in the network that has most', () => {
    const places = new ConnectionPlaces<Visitor>(4, byWorth)
    const [first, second, third] = [visitor('a', 3), visitor('a', 1), visitor('a', 2)]
    for (const one of [visitor('b', 0), first, second, third]) places.take(one)
    expect(places.take(visitor('c', -1))).toBe(second)
    places.leave(first)
    expect(places.taken).toBe(3)
  })

  it('are never more than there are, and a newcomer always has one, whoever comes and goes', () => {
    const step = fc.record({ network: fc.constantFrom('a', 'b', 'c', 'd'), isLeaving: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const places = new ConnectionPlaces<Visitor>(8, oldestOf)
        const held = new Set<Visitor>()
        for (const { network, isLeaving } of steps) {
          const [oldest] = held
          if (isLeaving && oldest) {
            held.delete(oldest)
            places.leave(oldest)
          } else {
            const newcomer = visitor(network)
            const gone = places.take(newcomer)
            held.add(newcomer)
            if (gone) expect(gone !== newcomer && held.delete(gone)).toBe(true)
          }
          expect(places.taken).toBe(held.size)
          expect(held.size).toBeLessThanOrEqual(8)
        }
      }),
    )
  })
})

describe('the budget of handshakes', () => {
  const takeAll = (budget: HandshakeBudget, network: string, nowMs: number) => {
    let taken = 0
    while (budget.take(network, nowMs)) taken += 1
    return taken
  }

  it('bounds one network, then all together, and gains with time', () => {
    const budget = new HandshakeBudget()
    expect(takeAll(budget, 'a', 0)).toBe(HANDSHAKES_BURST_MAX)
    expect(takeAll(budget, 'a', 1000)).toBe(HANDSHAKES_PER_SECOND_MAX)
    let all = 0
    for (let network = 0; network < 50; network += 1) all += takeAll(budget, `other ${network}`, 1000)
    expect(all).toBeLessThanOrEqual(ALL_HANDSHAKES_BURST_MAX)
    expect(all).toBeGreaterThan(ALL_HANDSHAKES_BURST_MAX / 2)
  })

  it('counts no members, unless one opens connections without end', () => {
    const budget = new HandshakeBudget()
    for (let node = 0; node < 1000; node += 1) {
      expect(budget.take('behind one address', 0)).toBe(true)
      budget.giveBack('behind one address', `node ${node}`, 0)
    }
    let opened = 0
    while (budget.take('behind one address', 0)) {
      budget.giveBack('behind one address', 'node 0', 0)
      opened += 1
    }
    expect(opened).toBeLessThan(2 * HANDSHAKES_BURST_MAX)
  })
})

describe('the budget of bodies', () => {
  const refused = expect.objectContaining({ code: 'REQUESTS_TOO_MANY' })

  it('gives one network a quarter of what is left, and takes it back', () => {
    const budget = new BodyBudget()
    const giveBack = budget.reserve('greedy', BODIES_BYTES_MAX / 4)
    expect(() => budget.reserve('greedy', SMALL_BODY_BYTES_MAX + 1)).toThrow(refused)
    budget.reserve('other', (BODIES_BYTES_MAX * 3) / 16)()
    giveBack()
    budget.reserve('greedy', BODIES_BYTES_MAX / 4)
  })

  it('is never exceeded, and counts no heartbeat, however many take what they can', () => {
    const budget = new BodyBudget()
    let reserved = 0
    for (let network = 0; network < 40; network += 1) {
      for (let bytes = BODIES_BYTES_MAX; bytes > SMALL_BODY_BYTES_MAX; bytes = Math.floor(bytes / 2)) {
        try {
          budget.reserve(`greedy ${network}`, bytes)
          reserved += bytes
        } catch (error) {
          expect(error).toEqual(refused)
        }
      }
    }
    expect(reserved).toBeLessThan(BODIES_BYTES_MAX)
    expect(reserved).toBeGreaterThan(BODIES_BYTES_MAX / 2)
    budget.reserve('honest', SMALL_BODY_BYTES_MAX)
  })
})
