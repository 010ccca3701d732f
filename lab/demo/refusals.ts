import type { BlobProgress } from '../../client/index.ts'
import type { Digest } from '../../core/digest.ts'
import type { AskedBlob } from '../stand-ins/client.ts'
import type { RefusalReport } from './report.ts'
import type { DemoStage } from './stage.ts'

/** The part of the story in which somebody must get nothing from the nodes. Each asks for a layer whose digest he knows. */

const STRANGER = 'a user without the right'

/** @param name a node that does not have the layer, while others do */
export async function tryWithoutRight(stage: DemoStage, name: string, blob: Digest): Promise<RefusalReport> {
  const before = movedBytes(await stage.progress(name), blob)
  const asked = await stage.askAsStranger(name, blob)
  const fetched = movedBytes(await stage.progress(name), blob) - before
  return refusalOf(STRANGER, `${name}, which lacks it`, asked, asked.bytes + fetched)
}

/** @param name a node that has the layer */
export async function tryAtHolder(stage: DemoStage, name: string, blob: Digest): Promise<RefusalReport> {
  const asked = await stage.askAsStranger(name, blob)
  return refusalOf(STRANGER, `${name}, which has it`, asked, asked.bytes)
}

/** The registry serves it: it has the right. Its cluster's swarms have no nodes but itself. */
export async function tryFromOtherCluster(stage: DemoStage, blob: Digest): Promise<RefusalReport> {
  const outsider = await stage.openOutsider()
  const asked = await outsider.ask(blob)
  const blobs = (await outsider.progress()).filter(({ digest }) => digest === blob)
  return {
    who: `${outsider.name}, of another cluster`,
    asked: 'its tracker and peers',
    answer: asked.blobStatus === 200 ? 'registry only' : String(asked.blobStatus),
    bytes: blobs.reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0),
    isAsExpected: asked.blobStatus === 200 && asked.bytes > 0,
  }
}

function refusalOf(who: string, asked: string, { blobStatus }: AskedBlob, bytes: number): RefusalReport {
  const isAsExpected = blobStatus === 401 || blobStatus === 403
  return { who, asked, answer: `refused: ${blobStatus}`, bytes, isAsExpected }
}

function movedBytes(blobs: BlobProgress[], blob: Digest): number {
  return blobs
    .filter(({ digest }) => digest === blob)
    .reduce((sum, { bytesFromPeers, bytesFromRegistry }) => sum + bytesFromPeers + bytesFromRegistry, 0)
}
