import { describe, expect, it } from 'vitest'
import { EventHeap } from '../../bench/sim/event-heap.ts'
import { parseSimCommand } from '../../bench/sim/options.ts'
import { Port } from '../../bench/sim/port.ts'
import { BLOCK_BYTES, NODE_BYTES_PER_MS, SCENARIO_NAMES } from '../../bench/sim/scenarios.ts'
import { simulate, simulateWorld, summarise } from '../../bench/sim/simulate.ts'
import { simulateAll } from '../../bench/sim/simulate-all.ts'
import { Trunks } from '../../bench/sim/trunk.ts'
import { firstFreeRun } from '../../tracker/handout/leases.ts'

/** Machines with links of the same speed, by number, and the clock between them. */
function newWires(machines: number) {
  const clock = { nowMs: 0 }
  const heap = new EventHeap(machines * 2)
  const ports = Array.from(
    { length: machines },
    (_, at) => new Port({ clock, heap }, { bytesPerMs: 7_650, sendEvent: at * 2, receiveEvent: at * 2 + 1 }),
  )
  const run = (events: number) => {
    for (let count = 0; count < events; count += 1) {
      const event = heap.next()
      clock.nowMs = heap.atMs
      const port = ports[event >> 1]!
      if (event % 2 === 0) port.sent()
      else port.received()
    }
  }
  return { machine: (at: number) => ports[at]!, run }
}

describe('the simulation', () => {
  it.each(SCENARIO_NAMES)('%s: brings every piece to every node that lives', (scenario) => {
    const world = simulateWorld({ nodes: 40, scenario })
    const living = world.nodes.filter(({ isUp }) => isUp)
    expect(living.length).toBeGreaterThan(20)
    expect(living.filter(({ have }) => !have.isFull)).toEqual([])
    expect(world.blobsFromOrigin).toBeGreaterThanOrEqual(0.999)
  })

  it('brings all of several images to every node over one link: twice the bytes take about twice as long', () => {
    const one = simulateWorld({ nodes: 30, scenario: 'flash' })
    const two = simulateWorld({ nodes: 30, scenario: 'flash', images: 2 })
    expect(two.nodes).toHaveLength(60)
    expect(two.nodes.filter(({ have }) => !have.isFull)).toEqual([])
    const doneAtMs = ({ nodes }: typeof one) => Math.max(...nodes.map((node) => node.doneAtMs!))
    expect(doneAtMs(two) / doneAtMs(one)).toBeGreaterThan(1.7)
    expect(doneAtMs(two) / doneAtMs(one)).toBeLessThan(2.3)
    const run = summarise({ nodes: 30, scenario: 'flash', images: 2 }, two)
    expect(run.makespanOverLimit).toBeLessThan(1.3)
  })

  it('keeps more of the traffic within zones that the tracker knows', () => {
    const copiesAcross = (areKnown: boolean) => {
      const zones = { count: 2, bytesPerMs: 4 * NODE_BYTES_PER_MS, areKnown }
      const world = simulateWorld({ nodes: 64, scenario: 'flash', zones })
      expect(world.nodes.filter(({ have }) => !have.isFull)).toEqual([])
      return world.blobsAcrossZones
    }
    const [known, unknown] = [copiesAcross(true), copiesAcross(false)]
    expect(known).toBeLessThan(unknown * 0.85)
    expect(known).toBeGreaterThan(1)
  })

  it('has a machine in one zone for all of its images', () => {
    const trunks = new Trunks({ count: 3, bytesPerMs: 1, areKnown: true }, 2)
    expect([1, 2, 5, 6].map((node) => trunks.isNear(0, node))).toEqual([true, false, false, true])
    expect(trunks.between(0, 1)).toBeUndefined()
    expect(trunks.between(0, 2)).toBe(trunks.between(7, 5))
    expect(trunks.between(2, 0)).not.toBe(trunks.between(0, 2))
  })

  it('has the nodes of a lost tracker wait for another one, and the others not', () => {
    const world = simulateWorld({ nodes: 60, scenario: 'tracker-loss' })
    const cutOff = world.nodes.filter(({ plan }) => plan.cutOffUntilMs > 0)
    expect(cutOff.length).toBeGreaterThan(10)
    expect(cutOff.length).toBeLessThan(30)
    const lost = summarise({ nodes: 60, scenario: 'tracker-loss' }, world)
    const flash = simulate({ nodes: 60, scenario: 'flash' })
    expect(lost.makespanOverLimit).toBeLessThan(flash.makespanOverLimit * 1.3)
    expect(lost.originCopies).toBeGreaterThan(flash.originCopies)
    expect(lost.originCopies).toBeLessThan(1.4)
  })

  it('shows how long the registry takes when one node fetches everything from it', () => {
    const shared = simulateWorld({ nodes: 16, scenario: 'flash' })
    const alone = simulateWorld({ nodes: 16, scenario: 'flash', policy: firstFreeRun() })
    expect(alone.originDoneAtMs).toBeGreaterThan(shared.originDoneAtMs * 1.5)
  })

  it('is near the limit: with two served at a time, or the first to ask served first, it would take half as long again', () => {
    for (const seed of [1, 2]) {
      const run = simulate({ nodes: 60, scenario: 'flash', seed })
      expect(run.makespanOverLimit).toBeLessThan(1.45)
      expect(run.originCopies).toBeLessThan(1.05)
    }
  })

  it('waits out a pause of the tracker at the release: the registry sends hardly more than one copy', () => {
    for (const nodes of [10, 100]) {
      const pause = simulate({ nodes, scenario: 'pause' })
      const long = simulate({ nodes, scenario: 'long-pause' })
      expect(pause.originCopies).toBeLessThanOrEqual(1.1)
      expect(long.originCopies).toBeLessThanOrEqual(1.6)
      expect([pause.waitedSeconds, long.waitedSeconds]).toEqual([1, 1.9])
    }
    // A tracker that stays silent is left alone after two seconds, and every node goes to the registry.
    const silent = simulateWorld({ nodes: 10, scenario: 'pause', pauseMs: 3_600_000 })
    expect(silent.blobsFromOrigin).toBeCloseTo(10)
    expect(silent.waitedMs).toBe(2_000)
  })

  it('gives the same figures for the same seed, and is never faster than the links', () => {
    const run = simulate({ nodes: 30, scenario: 'flash', seed: 7 })
    expect(simulate({ nodes: 30, scenario: 'flash', seed: 7 })).toEqual(run)
    expect(run.makespanOverLimit).toBeGreaterThan(0.9)
    expect(Object.keys(run)).toEqual([
      'nodes',
      'scenario',
      'images',
      'makespanOverLimit',
      'originCopies',
      'trackerRequestsPerNode',
      'waitedSeconds',
    ])
  })

  it('refuses flags that it does not know', () => {
    expect(() => parseSimCommand(['--fast'])).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(parseSimCommand(['--quick']).nodeCounts).toEqual([100, 1_000])
    expect(parseSimCommand(['--nodes', '50,20', '--scenarios', 'slow'])).toMatchObject({
      nodeCounts: [20, 50],
      scenarios: ['slow'],
    })
    expect(() => parseSimCommand(['--nodes', '20000'])).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(parseSimCommand(['--quick', '--images', '3']).images).toBe(3)
    expect(() => parseSimCommand(['--images', '9'])).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => parseSimCommand(['--nodes', '10000', '--images', '3'])).toThrow(/20000/)
    expect(() => parseSimCommand(['--scenarios', 'flood'])).toThrow(
      expect.objectContaining({ code: 'USAGE' }),
    )
  })

  it('takes events in the order of their time, moved and removed ones too', () => {
    const heap = new EventHeap(5)
    for (const [event, atMs] of [50, 10, 40, 20, 30].entries()) heap.set(event, atMs)
    heap.set(0, 5)
    heap.delete(3)
    const taken = [heap.next(), heap.next(), heap.next(), heap.next(), heap.next()]
    expect(taken).toEqual([0, 1, 4, 2, -1])
  })

  it('lets all that send to one machine take turns, however soon one of them has more', () => {
    const { machine, run } = newWires(4)
    const sent = [0, 0, 0]
    const flows = sent.map((_, at) => ({
      from: machine(at + 1),
      to: machine(0),
      socket: [],
      onSent() {},
      onArrived: () => more(at),
    }))
    const more = (at: number) => {
      sent[at]! += 1
      const { from } = flows[at]!
      from.send(flows[at]!, { piece: 0, begin: 0, length: BLOCK_BYTES })
    }
    for (const at of [0, 1, 2]) more(at)
    run(90)
    expect(Math.max(...sent) - Math.min(...sent)).toBeLessThanOrEqual(1)
  })

  it('runs each simulation in a thread and gives the results in the order asked for', async () => {
    const wanted = [
      { nodes: 5, scenario: 'flash' },
      { nodes: 10, scenario: 'trickle' },
    ] as const
    expect(await simulateAll(wanted)).toEqual(wanted.map((options) => simulate(options)))
  })
})
