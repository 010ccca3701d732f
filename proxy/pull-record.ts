import type { BytesBySource } from '../client/index.ts'
import { addWaits, noWaits, type Waits } from './waits.ts'

/** What is remembered of a pull: an image where its manifest passed, otherwise a single blob. */

/** `passedThrough`: from the registry to the client unchanged, without the swarm. */
export interface PullBytes extends BytesBySource {
  passedThrough: number
}
export const PULL_SOURCES = [
  'peers',
  'registry',
  'cache',
  'passedThrough',
] as const satisfies (keyof PullBytes)[]

export type PullSource = (typeof PULL_SOURCES)[number]
export type PullWaits = { [Source in PullSource]?: Waits | undefined }

export const PULL_OUTCOMES = ['running', 'done', 'interrupted', 'failed'] as const
export type PullOutcome = (typeof PULL_OUTCOMES)[number]

export interface LayerRecord {
  digest: string
  /** The whole layer; absent: not known. */
  size?: number | undefined
  beganMs: number
  /** When its last request ended. */
  endedMs?: number | undefined
  bytes: PullBytes
  /** How long the client waited for the chunks of each source; absent in records of former versions. */
  waits?: PullWaits | undefined
  /** Why the registry stepped in: codes of docs/errors.md and docs/status.md, each once. */
  reasons: string[]
  outcome: PullOutcome
}

export interface PullRecord {
  id: string
  registry: string
  repository: string
  /** Tag or digest that the manifest was asked by; absent: no manifest passed. */
  reference?: string | undefined
  /** Of the manifest. */
  digest?: string | undefined
  layers: LayerRecord[]
}

/** A pull with what follows from its layers. */
export interface PullSummary extends PullRecord {
  beganMs: number
  /** Absent while it runs. */
  endedMs?: number
  outcome: PullOutcome
  bytes: PullBytes
  /** Of all layers together. */
  waits: PullWaits
  reasons: string[]
}

export function noBytes(): PullBytes {
  return { peers: 0, registry: 0, cache: 0, passedThrough: 0 }
}

export function addBytes(sum: PullBytes, more: Partial<PullBytes>): void {
  for (const source of PULL_SOURCES) sum[source] += more[source] ?? 0
}

export function addPullWaits(sum: PullWaits, more: PullWaits): void {
  for (const source of PULL_SOURCES) {
    const waits = more[source]
    if (waits === undefined) continue
    sum[source] ??= noWaits()
    addWaits(sum[source], waits)
  }
}
