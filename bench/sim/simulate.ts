import { farHalf, type LeasePolicy } from '../../tracker/handout/leases.ts'
import { limitMs, PAUSE_MS, planNodes, type ScenarioName } from './scenarios.ts'
import type { Zones } from './trunk.ts'
import { World } from './world.ts'

export interface SimRun {
  nodes: number
  scenario: ScenarioName
  images: number
  /** For `trickle` and `slow` the 99th percentile of each node's own time over its own limit. */
  makespanOverLimit: number
  originCopies: number
  trackerRequestsPerNode: number
  /** The longest wait of a node for the tracker before its pull began. */
  waitedSeconds: number
}

export interface SimOptions {
  nodes: number
  scenario: ScenarioName
  seed?: number
  /** Replaces the shipped policy. */
  policy?: LeasePolicy
  /** Replaces the scenario's. */
  pauseMs?: number
  /** Wanted by every node at the same time; default: one. */
  images?: number
  zones?: Zones
}

export function simulate(options: SimOptions): SimRun {
  return summarise(options, simulateWorld(options))
}

/** @returns the world when every living node has the blob */
export function simulateWorld({
  nodes,
  scenario,
  seed = 1,
  policy = farHalf(),
  pauseMs,
  images = 1,
  zones,
}: Omit<SimOptions, 'scenario'> & { scenario: ScenarioName | 'warm' }): World {
  const random = seededRandom(seed)
  const plans = planNodes(scenario, nodes, random)
  const trackerAnswersAtMs = pauseMs ?? PAUSE_MS[scenario] ?? 0
  const doHoldersDie = scenario === 'deaths'
  const world = new World({ plans, policy, trackerAnswersAtMs, doHoldersDie, images, zones, random })
  world.run()
  return world
}

export function summarise({ nodes, scenario, images = 1 }: SimOptions, world: World): SimRun {
  const ratios = world.nodes
    .filter(({ isUp, plan, doneAtMs }) => isUp && !plan.isSeed && doneAtMs !== undefined)
    .map(({ plan, doneAtMs }) => (doneAtMs! - plan.arrivesAtMs) / limitMs(nodes, plan.bytesPerMs, images))
    .sort((one, other) => one - other)
  const isOwn = scenario === 'trickle' || scenario === 'slow'
  const at = isOwn ? Math.ceil(ratios.length * 0.99) - 1 : ratios.length - 1
  return {
    nodes,
    scenario,
    images,
    makespanOverLimit: round(ratios[at]!),
    originCopies: round(world.blobsFromOrigin),
    trackerRequestsPerNode: round(world.trackerRequests / nodes),
    waitedSeconds: round(world.waitedMs / 1000),
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}

/** The same numbers in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
