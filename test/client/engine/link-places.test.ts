import { describe, expect, it } from 'vitest'
import { GIVES_WAY_AFTER_MS, type Place, whoGivesWay } from '../../../client/engine/link-places.ts'

const NOW = 1_000_000
const PLACES = 40

interface Link extends Place {
  name: string
}

const link = (name: string, changes: Partial<Place> = {}): Link => ({
  name,
  network: '10.0.0.1',
  movedAtMs: NOW,
  state: 'quiet',
  ...changes,
})

const links = (count: number, changes: (at: number) => Partial<Place>) =>
  Array.from({ length: count }, (_, at) => link(`link ${at}`, changes(at)))

const leaving = (all: Link[], network = '10.0.0.2') =>
  whoGivesWay(all, { placeOf: (one) => one, network, nowMs: NOW })?.name

describe('a holder whose places are all taken', () => {
  it('drops the connection that has moved nothing for longest, also for one of the same address', () => {
    const all = links(PLACES, (at) => ({ movedAtMs: NOW - 10_000 - (at === 7 ? 5_000 : at) }))
    expect(leaving(all)).toBe('link 7')
    expect(leaving(all, '10.0.0.1')).toBe('link 7')
  })

  it('drops no connection that moved blocks lately', () => {
    expect(leaving(links(PLACES, (at) => ({ network: `10.0.1.${at}` })))).toBeUndefined()
    const moved = NOW - GIVES_WAY_AFTER_MS.quiet + 1
    expect(leaving(links(PLACES, (at) => ({ network: `10.0.1.${at}`, movedAtMs: moved })))).toBeUndefined()
  })

  it.each([
    ['opening', GIVES_WAY_AFTER_MS.opening],
    ['quiet', GIVES_WAY_AFTER_MS.quiet],
    ['asking', GIVES_WAY_AFTER_MS.asking],
  ] as const)('waits for one that is %s as long as an honest one may need', (state, ms) => {
    const others = links(PLACES - 1, (at) => ({ network: `10.0.1.${at}` }))
    const with_ = (idleMs: number) => [link('idle', { state, movedAtMs: NOW - idleMs }), ...others]
    expect(leaving(with_(ms - 1))).toBeUndefined()
    expect(leaving(with_(ms))).toBe('idle')
  })

  it('drops a busy connection of an address that has more than half for one of another address', () => {
    const greedy = (count: number) =>
      links(PLACES, (at) => ({
        network: at < count ? '10.0.0.1' : `10.0.1.${at}`,
        movedAtMs: NOW - (at === 3 ? 9 : 0),
      }))
    expect(leaving(greedy(PLACES / 2 + 1))).toBe('link 3')
    expect(leaving(greedy(PLACES / 2))).toBeUndefined()
  })

  it('drops none for another of the same address: peers behind one address are served one after the other', () => {
    expect(
      leaving(
        links(PLACES, () => ({})),
        '10.0.0.1',
      ),
    ).toBeUndefined()
  })

  it('keeps the connections that it dialled itself', () => {
    const all = links(PLACES, () => ({ network: undefined, movedAtMs: 0 }))
    expect(leaving(all)).toBeUndefined()
    expect(leaving([...all, link('accepted', { movedAtMs: NOW - 60_000 })])).toBe('accepted')
  })
})
