import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { SimOptions, SimRun } from './simulate.ts'

type Wanted = Omit<SimOptions, 'policy'>

/** Heap of one run; 10,000 nodes with all their connections use a part of it. */
const HEAP_MIB_MAX = 6 * 1024

/**
 * Simulates each, as many at a time as there are cores, the largest first.
 * @param onRun called when a run ends
 * @returns the runs in the order of `wanted`
 */
export async function simulateAll(
  wanted: readonly Wanted[],
  onRun: (run: SimRun, seconds: number) => void = () => undefined,
): Promise<SimRun[]> {
  const runs = new Array<SimRun>(wanted.length)
  const waiting = [...wanted.keys()].sort((one, other) => wanted[other]!.nodes - wanted[one]!.nodes)
  const work = async () => {
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      const startedAtMs = performance.now()
      const run = await inThread(wanted[at]!)
      runs[at] = run
      onRun(run, (performance.now() - startedAtMs) / 1000)
    }
  }
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), wanted.length) }, work))
  return runs
}

function inThread(options: Wanted): Promise<SimRun> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: options,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
    })
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', (code) => {
      if (code !== 0) reject(new Error(`a simulation of ${options.nodes} nodes ended with ${code}`))
    })
  })
}
