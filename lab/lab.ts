import type { BlobProgress } from '../client/index.ts'
import type { Digest } from '../core/digest.ts'
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
  /** What each node's Shoal says about the image's layers. */
  progress(name: string): Promise<BlobProgress[]>
  /** Makes an image of that many bytes of data per layer, which nobody has, and pushes it. */
  publish(tag: string, layerDataBytes: number[]): Promise<ImageReference>
  /** Pulls the plug of a part's host: `registry`, `tracker`, or a node's name. */
  cut(part: FaultPart): Promise<void>
  heal(part: FaultPart): Promise<void>
  /** Cuts the parts of one side off from those of the other, and from nobody else. */
  separate(left: FaultPart[], right: FaultPart[]): Promise<void>
  reunite(left: FaultPart[], right: FaultPart[]): Promise<void>
  /** Ends a part with SIGKILL; of the registry, also its token server. */
  kill(part: FaultPart): void
  /** Starts what was killed again, with the same data. Resolves when it answers. */
  revive(part: FaultPart): Promise<void>
  /** What left the registry per layer; a layer that nobody asked for is there with zeros. */
  registryEgress(): Map<Digest, BlobEgress>
  close(): Promise<void>
}
