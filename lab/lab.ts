import type { BlobProgress } from '../client/index.ts'
import type { Digest } from '../core/digest.ts'
import type { Compression } from './image/layer.ts'
import type { LabHost } from './machine/network.ts'
import type { LabRun } from './machine/run.ts'
import type { ImageReference, Puller } from './pullers/puller.ts'
import type { LabRegistry } from './registry/registry.ts'
import type { BlobEgress } from './registry/registry-log.ts'
import type { LabShoalNode, LabTracker } from './shoal.ts'

/** `registry`, `tracker`, or a node's name. */
export type FaultPart = string

export interface LabNode {
  readonly name: string
  readonly host: LabHost
  readonly puller: Puller
  /** Undefined where the lab has no Shoal. */
  readonly shoal: LabShoalNode | undefined
}

export interface Lab {
  readonly run: LabRun
  readonly image: ImageReference
  readonly registry: LabRegistry
  readonly registryHost: LabHost
  readonly tracker: LabTracker | undefined
  readonly nodes: LabNode[]
  node(name: string): LabNode
  /** @returns how long the client took, in seconds */
  pull(name: string): Promise<number>
  /** Progress of the image's layers on each node's Shoal. */
  progress(name: string): Promise<BlobProgress[]>
  /** Starts a Shoal node on a new host, in another cluster of the same tracker. */
  addForeigner(name: string): Promise<Pick<LabNode, 'name' | 'host'> & { shoal: LabShoalNode }>
  /** Makes a new image with this many bytes of data per layer, and pushes it. */
  publish(tag: string, layerDataBytes: number[], compression?: Compression): Promise<ImageReference>
  /** Disconnects a part's host: `registry`, `tracker`, or a node's name. */
  cut(part: FaultPart): Promise<void>
  heal(part: FaultPart): Promise<void>
  /** Separates the parts of one side from those of the other only. */
  separate(left: FaultPart[], right: FaultPart[]): Promise<void>
  reunite(left: FaultPart[], right: FaultPart[]): Promise<void>
  /** Ends a part with SIGKILL; for the registry, also its token server. */
  kill(part: FaultPart): void
  /** Starts a killed part again, with the same data. Resolves when it answers. */
  revive(part: FaultPart): Promise<void>
  /** Bytes that left the registry, by layer; a layer without requests is present with zeros. */
  registryEgress(): Map<Digest, BlobEgress>
  close(): Promise<void>
}
