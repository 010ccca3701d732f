import { z } from 'zod'
import { SEVERITIES } from '../core/condition-texts.ts'
import { shortDigest } from '../core/digest.ts'

/** What `GET /v1/status` and `GET /v1/pulls/last` of the local API say, as far as commands show it (docs/status.md). */

const bytes = z.number()
const sourceBytes = z.object({ peers: bytes, registry: bytes, cache: bytes, passedThrough: bytes })
const waits = z.object({ chunks: z.number(), ms: z.number(), p50Ms: z.number(), p99Ms: z.number() })
const sourceWaits = z.object({ peers: waits, registry: waits, cache: waits, passedThrough: waits }).partial()
const outcome = z.enum(['running', 'done', 'interrupted', 'failed'])

const layerSchema = z.object({
  digest: z.string(),
  size: bytes.optional(),
  began: z.string(),
  ended: z.string().optional(),
  bytes: sourceBytes,
  waits: sourceWaits,
  reasons: z.array(z.string()),
  outcome,
})

const pullSchema = z.object({
  id: z.string(),
  registry: z.string(),
  repository: z.string(),
  reference: z.string().optional(),
  digest: z.string().optional(),
  began: z.string(),
  ended: z.string().optional(),
  outcome,
  bytes: sourceBytes,
  waits: sourceWaits,
  reasons: z.array(z.string()),
  layers: z.array(layerSchema),
  peers: z.number().optional(),
})

export const conditionSchema = z.object({
  code: z.string(),
  title: z.string(),
  severity: z.enum(SEVERITIES),
  text: z.string(),
  cost: z.string(),
  remedy: z.string(),
  subject: z.string(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  since: z.string(),
})

export const statusSchema = z.looseObject({
  status: z.enum(['ok', 'degraded']),
  codes: z.array(z.string()),
  ready: z.enum(['ready', 'starting', 'not ready']),
  node: z.object({
    version: z.string(),
    started: z.string(),
    joined: z.boolean(),
    reason: z.string().optional(),
    cluster: z.string().optional(),
    id: z.string().optional(),
    // An older node has none of these.
    zone: z.string().default(''),
    rack: z.string().default(''),
  }),
  tracker: z.object({ url: z.string().nullable(), state: z.string(), since: z.string() }),
  registries: z.array(
    z.object({
      host: z.string(),
      state: z.string(),
      kinds: z.array(z.string()),
      conditions: z.array(z.string()),
    }),
  ),
  peers: z.object({
    connected: z.number(),
    refused: z.number(),
    unreachable: z.number(),
    bytes: z.object({ near: bytes, far: bytes }).default({ near: 0, far: 0 }),
  }),
  cache: z.object({ blobs: z.number(), bytes, bytesMax: bytes, evictions: z.number() }),
  conditions: z.array(conditionSchema),
  pulls: z.array(pullSchema),
  totals: z.object({
    sinceStart: sourceBytes.extend({ toPeers: bytes }),
    sinceInstall: sourceBytes.extend({ toPeers: bytes, since: z.string() }),
  }),
})

export const lastPullSchema = z.object({ pull: pullSchema, recorded: z.number() })

export type NodeStatus = z.output<typeof statusSchema>
export type ShownPull = z.output<typeof pullSchema>
export type ShownLayer = z.output<typeof layerSchema>
export type ShownCondition = z.output<typeof conditionSchema>

/** Of a whole layer it is known also where no manifest told it. */
export function sizeOf({ size, outcome, bytes }: ShownLayer): number | undefined {
  return size ?? (outcome === 'done' ? allBytes(bytes) : undefined)
}

/** In the order in which people read them. */
export const SOURCES = ['peers', 'registry', 'cache', 'passedThrough'] as const
export type Source = (typeof SOURCES)[number]

export const SOURCE_WORDS: Record<Source, string> = {
  peers: 'peers',
  registry: 'registry',
  cache: 'cache',
  passedThrough: 'direct',
}

export function allBytes(bytes: Record<Source, number>): number {
  return SOURCES.reduce((sum, source) => sum + bytes[source], 0)
}

/** `registry/repository:tag`, `…@digest`, or the blob. */
export function nameOf({ registry, repository, reference, layers }: ShownPull): string {
  const home = `${registry}/${repository}`
  if (reference === undefined) return `${home}@sha256:${shortDigest(layers[0]?.digest ?? '')} (a blob)`
  return reference.startsWith('sha256:') ? `${home}@sha256:${shortDigest(reference)}` : `${home}:${reference}`
}
