import type { BlobProgress } from '../../client/index.ts'
import type { Digest } from '../../core/digest.ts'
import type { ImageReference, Puller } from '../pullers/puller.ts'
import type { BlobEgress } from '../registry/registry-log.ts'
import type { AskedBlob } from '../stand-ins/client.ts'
import type { PartReport } from './report.ts'

/** Where the story is told: a cluster that is up, of real parts or of stand-ins, with an image that nobody has yet. */
export interface DemoStage {
  readonly parts: PartReport[]
  readonly image: ImageReference
  readonly nodes: StageNode[]
  /** @returns how long the client took, in seconds */
  pull(name: string): Promise<number>
  /** Progress of the image's layers on each node's Shoal. */
  progress(name: string): Promise<BlobProgress[]>
  registryEgress(): ReadonlyMap<Digest, BlobEgress>
  /** How parts ended that nobody stopped. */
  deaths(): string[]
  /** Asks through a node's proxy as a user of it who has an account at the registry, and no right. */
  askAsStranger(name: string, blob: Digest): Promise<AskedBlob>
  /** Starts a node of another cluster of the same tracker. */
  openOutsider(): Promise<Outsider>
  /** For whoever looks around while everything still runs. */
  readonly places: string[]
  close(): Promise<void>
}

export interface StageNode {
  readonly name: string
  /** As the tables call it. */
  readonly client: string
  readonly puller: Puller
  /** The same pull by the same client without Shoal, into a store of its own. @returns how long it took, in seconds */
  pullDirectly(): Promise<number>
  peakRssBytes(): number
}

/** @returns how long the client took, in seconds */
export async function timed(puller: Puller, image: ImageReference): Promise<number> {
  const startedMs = performance.now()
  await puller.pull(image)
  return (performance.now() - startedMs) / 1000
}

export interface Outsider {
  readonly name: string
  /** Asks through its proxy, with the right to pull. */
  ask(blob: Digest): Promise<AskedBlob>
  progress(): Promise<BlobProgress[]>
}
