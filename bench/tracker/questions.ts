import type { Digest } from '../../core/digest.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { TokenKeysAnswer } from '../measure/blob-registry.ts'
import type { OpenLoopResult } from './open-loop.ts'
import type { Operation } from './report.ts'

/** Questions to the benchmark's own processes, with their answers. */

export interface RegistryAnswer {
  host: RegistryHost
  tokenKeys: TokenKeysAnswer
}

export interface LoadSettings {
  /** Of the trackers; nodes ask them in turn. */
  ports: number[]
  trackerCaPem: string
  joinToken: string
  /** Nodes, each with one connection. */
  connections: number
  registry: RegistryHost
  /** Images to request grants for, each a list of blobs. */
  images: { digest: Digest; bytes: number }[][]
  /** Images of which each node has all blobs. */
  imagesHeld: number
}

/** One request after the other on each connection. */
export interface MeasureQuestion {
  operation: Operation
  seconds: number
}

/** Grants at a given rate. */
export interface OfferQuestion {
  perSecond: number
  seconds: number
}

/** Heartbeats of every node, and pulls: a grant, then a completion for each blob. */
export interface LiveQuestion {
  pullsPerSecond: number
  heartbeatSeconds: number
  seconds: number
}

export type LiveAnswer = Record<'grant' | 'completion' | 'heartbeat', OpenLoopResult>
