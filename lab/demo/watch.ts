import { setTimeout as delay } from 'node:timers/promises'
import type { Lab, LabNode } from '../lab.ts'
import type { ProgressRow, ProgressView } from './progress.ts'

const INTERVAL_MS = 150

/** Shows the progress that the nodes report, until it is stopped. */
export function watchProgress(lab: Lab, view: ProgressView): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      view.update(await progressRows(lab))
      await delay(INTERVAL_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    async stop() {
      stopping.abort()
      await watching
      view.update(await progressRows(lab))
      view.settle()
    },
  }
}

/** One row per node and layer. A node that has not answered yet has no progress so far. */
async function progressRows(lab: Lab): Promise<ProgressRow[]> {
  const perNode = await Promise.all(lab.nodes.map((node) => rowsOf(lab, node)))
  return perNode.flat()
}

async function rowsOf(lab: Lab, { name, puller }: LabNode): Promise<ProgressRow[]> {
  const blobs = await lab.progress(name).catch(() => [])
  return lab.image.layers.map(({ digest, bytes }, index) => {
    const blob = blobs.find((candidate) => candidate.digest === digest)
    return {
      node: name,
      client: puller.kind,
      layer: index + 1,
      bytes,
      registryBytes: blob?.bytesFromRegistry ?? 0,
      peerBytes: blob?.bytesFromPeers ?? 0,
    }
  })
}
