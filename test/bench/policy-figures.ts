import { LAYOUT, type ScenarioName } from '../../bench/sim/scenarios.ts'
import { simulateWorld, summarise } from '../../bench/sim/simulate.ts'

export interface FiguresQuestion {
  scenario: ScenarioName | 'warm'
  nodes: number
  seed: number
}

export interface PolicyFigures {
  /** The last node's time over the physical limit; of `trickle` and `slow` the 99th percentile of each node's own. */
  time: number
  /** The median node's time, in seconds. */
  medianSeconds: number
  /** Of the blob, from the registry. */
  copies: number
  /** Calls to the tracker, per node. */
  requests: number
  /** What was sent in all, over what all nodes needed. */
  sent: number
}

/** What a simulated swarm costs, under the policies as they are loaded. */
export function figuresOf({ scenario, nodes, seed }: FiguresQuestion): PolicyFigures {
  const world = simulateWorld({ scenario, nodes, seed })
  const { makespanOverLimit, originCopies, trackerRequestsPerNode } = summarise(
    { nodes, scenario } as never,
    world,
  )
  const done = world.nodes.filter(
    ({ isUp, plan, doneAtMs }) => isUp && !plan.isSeed && doneAtMs !== undefined,
  )
  const times = done
    .map(({ plan, doneAtMs }) => doneAtMs! - plan.arrivesAtMs)
    .sort((one, other) => one - other)
  const sentBytes = world.nodes.reduce((sum, { port }) => sum + port.sentBytes, world.registry.sentBytes)
  return {
    time: makespanOverLimit,
    medianSeconds: times[Math.floor(times.length / 2)]! / 1000,
    copies: originCopies,
    requests: trackerRequestsPerNode,
    sent: sentBytes / LAYOUT.blobBytes / done.length,
  }
}
