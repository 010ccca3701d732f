import type { Digest } from '../../core/digest.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { TokenKeysAnswer } from '../measure/blob-registry.ts'
import type { Operation } from './report.ts'

/** What the benchmark's own processes are asked. */

export interface RegistryAnswer {
  host: RegistryHost
  tokenKeys: TokenKeysAnswer
}

export interface LoadSettings {
  port: number
  trackerCaPem: string
  joinToken: string
  connections: number
  registry: RegistryHost
  /** Images that pulls are asked for, each a list of blobs. */
  images: { digest: Digest; bytes: number }[][]
}

export interface MeasureQuestion {
  operation: Operation
  seconds: number
}
