import { BLOB_MS, NODE_BYTES_PER_MS } from './scenarios.ts'
import { simulateWorld } from './simulate.ts'

/** `node bench/sim/zones.ts`: a flash pull in several zones with slow links between them, with and without their labels. */

const RUNS = [
  { nodes: 99, count: 3, nodesWide: 4 },
  { nodes: 300, count: 3, nodesWide: 4 },
  { nodes: 999, count: 3, nodesWide: 8 },
]
const SEEDS = [1, 2]

for (const { nodes, count, nodesWide } of RUNS) {
  for (const seed of SEEDS) {
    for (const areKnown of [false, true]) {
      const zones = { count, bytesPerMs: nodesWide * NODE_BYTES_PER_MS, areKnown }
      const world = simulateWorld({ nodes, scenario: 'flash', seed, zones })
      const doneMs = Math.max(...world.nodes.map(({ doneAtMs = 0 }) => doneAtMs))
      const figures = [doneMs / BLOB_MS, world.blobsAcrossZones, world.blobsFromOrigin]
      const texts = figures.map((figure) => figure.toFixed(2))
      process.stdout.write(
        `| ${[nodes, count, nodesWide, seed, areKnown ? 'yes' : 'no', ...texts].join(' | ')} |\n`,
      )
    }
  }
}
