import type { Digest } from '../../core/digest.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { TokenKeysAnswer } from '../measure/blob-registry.ts'
import type { Operation } from './report.ts'

/** Questions to the benchmark's own processes, with their answers. */

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
  /** Images to request grants for, each a list of blobs. */
  images: { digest: Digest; bytes: number }[][]
}

export interface MeasureQuestion {
  operation: Operation
  seconds: number
}
