import { setTimeout as delay } from 'node:timers/promises'
import type { ProgressRow, ProgressView } from './progress.ts'
import type { DemoStage, StageNode } from './stage.ts'

const INTERVAL_MS = 150

/** Shows the progress that the nodes report, until it is stopped. */
export function watchProgress(stage: DemoStage, view: ProgressView): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      view.update(await progressRows(stage))
      await delay(INTERVAL_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    async stop() {
      stopping.abort()
      await watching
      view.update(await progressRows(stage))
      view.settle()
    },
  }
}

/** One row per node and layer. A node that has not answered yet has no progress so far. */
async function progressRows(stage: DemoStage): Promise<ProgressRow[]> {
  const perNode = await Promise.all(stage.nodes.map((node) => rowsOf(stage, node)))
  return perNode.flat()
}

async function rowsOf(stage: DemoStage, { name, client }: StageNode): Promise<ProgressRow[]> {
  const blobs = await stage.progress(name).catch(() => [])
  return stage.image.layers.map(({ digest, bytes }, index) => {
    const blob = blobs.find((candidate) => candidate.digest === digest)
    return {
      node: name,
      client,
      layer: index + 1,
      bytes,
      registryBytes: blob?.bytesFromRegistry ?? 0,
      peerBytes: blob?.bytesFromPeers ?? 0,
    }
  })
}
