import { randomBytes } from 'node:crypto'
import type { BytesBySource } from '../client/index.ts'
import { BoundedMap } from '../core/bounded-map.ts'
import type { Digest } from '../core/digest.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'
import type { RequestOutcome } from './metrics.ts'
import type { ResponseWatcher } from './upstream/forward.ts'

/**
 * What became of every pull: an image where its manifest passed, otherwise a single blob. Requests write here when they begin
 * and end, never with each chunk. Invariant: the bytes of a layer by source are the bytes that the pulling client was sent.
 */

/** Pulls that are remembered; the oldest go first. An hour of a busy node: one every seven seconds. */
export const PULLS_KEPT_MAX = 512
/** Layers in all remembered pulls together, about 300 bytes each in the file. */
export const PULL_LAYERS_KEPT_MAX = 4096
/** Reasons in one layer: one for each step of its way, and some for repeated requests. */
const LAYER_REASONS_MAX = 8
/** Blobs of manifests that passed, which tell which image a blob belongs to: about 30 images with all layers. */
const IMAGE_BLOBS_MAX = 4096
/** After this time without a request, the next one of the same image begins a new pull. */
export const PULL_IDLE_MS = 60_000

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
  reasons: string[]
}

export interface SeenImage {
  registry: RegistryHost
  repository: Repository
  reference: string
  digest: string | undefined
  blobs: readonly { digest: Digest; bytes: number }[]
}

export interface BegunBlob {
  registry: RegistryHost
  repository: Repository
  digest: Digest
  /** The request is for a part, so several of them make one layer. */
  isPart: boolean
}

export function noBytes(): PullBytes {
  return { peers: 0, registry: 0, cache: 0, passedThrough: 0 }
}

export function addBytes(sum: PullBytes, more: Partial<PullBytes>): void {
  for (const source of PULL_SOURCES) sum[source] += more[source] ?? 0
}

export class PullRecords {
  readonly #nowMs: () => number
  readonly #pulls: PullRecord[] = []
  /** The last image that named a blob. */
  readonly #imageOf = new BoundedMap<string, Omit<SeenImage, 'blobs'>>(IMAGE_BLOBS_MAX)
  /** The last pull of a blob, or of an image. */
  readonly #last = new BoundedMap<string, PullRecord>(PULLS_KEPT_MAX)
  readonly #running = new Map<LayerRecord, Set<LayerAccount>>()
  readonly #total = noBytes()
  #version = 0

  constructor({ nowMs = Date.now, restored = [] }: { nowMs?: () => number; restored?: PullRecord[] } = {}) {
    this.#nowMs = nowMs
    this.#pulls.push(...restored)
  }

  /** Rises with every change that is worth saving. */
  get version(): number {
    return this.#version
  }

  /** A manifest passed: its blobs belong together. */
  sawImage({ blobs, ...image }: SeenImage): void {
    for (const { digest } of blobs) this.#imageOf.set(nameOf({ ...image, digest }), image)
  }

  /** A request for a blob begins. Call `end` of the account exactly once. */
  begin(blob: BegunBlob): LayerAccount {
    const pull = this.#pullOf(blob)
    let layer = pull.layers.find(({ digest }) => digest === blob.digest)
    if (layer === undefined) {
      layer = {
        digest: blob.digest,
        beganMs: this.#nowMs(),
        bytes: noBytes(),
        reasons: [],
        outcome: 'running',
      }
      pull.layers.push(layer)
      this.#makeRoom()
    }
    layer.outcome = 'running'
    const account = new LayerAccount(pull, layer, () => this.#ended(pull, layer, account))
    const accounts = this.#running.get(layer) ?? new Set()
    this.#running.set(layer, accounts.add(account))
    this.#version += 1
    return account
  }

  /** The newest first. */
  list(): PullSummary[] {
    return this.#pulls.map((pull) => this.#summary(pull)).reverse()
  }

  /** As they are kept on the disk. */
  records(): PullRecord[] {
    return this.#pulls
  }

  /** Bytes sent to pulling clients since the start. */
  total(): PullBytes {
    const sum = { ...this.#total }
    for (const accounts of this.#running.values()) for (const { live } of accounts) addBytes(sum, live)
    return sum
  }

  #pullOf(blob: BegunBlob): PullRecord {
    const image = this.#imageOf.get(nameOf(blob))
    const { registry, repository } = blob
    const key = image === undefined ? nameOf(blob) : `${registry} ${repository} ${image.reference}`
    const last = this.#last.get(key)
    if (last !== undefined && this.#continues(last, blob, image)) return last
    const begun: PullRecord = {
      id: randomBytes(8).toString('hex'),
      registry,
      repository,
      ...(image && { reference: image.reference, digest: image.digest }),
      layers: [],
    }
    this.#pulls.push(begun)
    this.#last.set(key, begun)
    return begun
  }

  /** Whether the request belongs to the pull: not when it asks again for a whole layer that the pull has. */
  #continues(
    pull: PullRecord,
    { digest, isPart }: BegunBlob,
    image: Omit<SeenImage, 'blobs'> | undefined,
  ): boolean {
    if (pull.digest !== image?.digest) return false
    const layer = pull.layers.find((one) => one.digest === digest)
    if (layer?.outcome === 'done' && !isPart) return false
    const isRunning = pull.layers.some((one) => this.#running.has(one))
    const activeMs = Math.max(...pull.layers.map(({ beganMs, endedMs }) => endedMs ?? beganMs))
    return isRunning || this.#nowMs() - activeMs < PULL_IDLE_MS
  }

  #ended(pull: PullRecord, layer: LayerRecord, account: LayerAccount): void {
    const accounts = this.#running.get(layer)
    accounts?.delete(account)
    addBytes(layer.bytes, account.live)
    addBytes(this.#total, account.live)
    this.#version += 1
    if (accounts !== undefined && accounts.size > 0) return
    this.#running.delete(layer)
    layer.endedMs = this.#nowMs()
    layer.outcome = account.outcome
    if (account.isForgotten && PULL_SOURCES.every((source) => layer.bytes[source] === 0))
      this.#forget(pull, layer)
  }

  #forget(pull: PullRecord, layer: LayerRecord): void {
    pull.layers.splice(pull.layers.indexOf(layer), 1)
    const at = this.#pulls.indexOf(pull)
    if (pull.layers.length > 0 || at < 0) return
    this.#pulls.splice(at, 1)
    for (const key of this.#last.keys()) if (this.#last.get(key) === pull) this.#last.delete(key)
  }

  #makeRoom(): void {
    let layers = this.#pulls.reduce((sum, pull) => sum + pull.layers.length, 0)
    while (this.#pulls.length > 1 && (this.#pulls.length > PULLS_KEPT_MAX || layers > PULL_LAYERS_KEPT_MAX)) {
      layers -= this.#pulls.shift()!.layers.length
    }
  }

  #summary(pull: PullRecord): PullSummary {
    const layers = pull.layers.map((layer) => {
      const bytes = { ...layer.bytes }
      for (const { live } of this.#running.get(layer) ?? []) addBytes(bytes, live)
      return { ...layer, bytes }
    })
    const bytes = noBytes()
    for (const layer of layers) addBytes(bytes, layer.bytes)
    const outcome = outcomeOf(layers)
    return {
      ...pull,
      layers,
      beganMs: Math.min(...layers.map(({ beganMs }) => beganMs)),
      ...(outcome === 'running' ? {} : { endedMs: Math.max(...layers.map(({ endedMs = 0 }) => endedMs)) }),
      outcome,
      bytes,
      reasons: [...new Set(layers.flatMap(({ reasons }) => reasons))],
    }
  }
}

/** The worst of its layers; running while one is. */
function outcomeOf(layers: LayerRecord[]): PullOutcome {
  const order: PullOutcome[] = ['running', 'failed', 'interrupted', 'done']
  return order.find((outcome) => layers.some((layer) => layer.outcome === outcome)) ?? 'done'
}

function nameOf({
  registry,
  repository,
  digest,
}: Pick<BegunBlob, 'registry' | 'repository' | 'digest'>): string {
  return `${registry} ${repository} ${digest}`
}

/** Outcomes that need no reason: nothing was left out, or the reason is noted where it is found. */
type OutcomeWithout =
  | 'registry_not_a_blob'
  | 'registry_fallback'
  | Exclude<RequestOutcome, `registry_${string}`>

/** Why the registry answers without the swarm having been asked. */
const PASS_REASONS: Record<Exclude<RequestOutcome, OutcomeWithout>, string> = {
  registry_small_blob: 'BLOB_SMALL',
  registry_paused: 'PAUSED',
  registry_length_unknown: 'LENGTH_UNKNOWN',
  registry_refused: 'REGISTRY_REFUSED',
  registry_unproven: 'ACCESS_UNPROVEN',
  registry_busy: 'REGISTRY_BUSY',
  registry_late: 'REGISTRY_LATE',
  registry_limited: 'REGISTRY_RATE_LIMITED',
  registry_redirect_refused: 'REGISTRY_REDIRECT_REFUSED',
}
/** The registry asks for a token, and the client comes back with one. */
const CHALLENGE_STATUS = 401

/** One request for a layer. */
export class LayerAccount {
  readonly pull: PullRecord
  outcome: PullOutcome = 'running'
  /** Nothing came of it that anybody asks for later. */
  isForgotten = false
  readonly #layer: LayerRecord
  readonly #onEnd: () => void
  #sources: BytesBySource = { peers: 0, registry: 0, cache: 0 }
  #passedBytes = 0
  #passed: PullOutcome | undefined

  constructor(pull: PullRecord, layer: LayerRecord, onEnd: () => void) {
    this.pull = pull
    this.#layer = layer
    this.#onEnd = onEnd
  }

  get live(): PullBytes {
    return { ...this.#sources, passedThrough: this.#passedBytes }
  }

  size(bytes: number): void {
    this.#layer.size = bytes
  }

  /** The registry steps in, in whole or for the rest. @returns whether no layer of the pull fell for this reason before */
  fell(code: string): boolean {
    const isNews = !this.pull.layers.some(({ reasons }) => reasons.includes(code))
    const { reasons } = this.#layer
    if (!reasons.includes(code) && reasons.length < LAYER_REASONS_MAX) reasons.push(code)
    return isNews
  }

  /** The client reads from the swarm; the numbers grow meanwhile. */
  reads(sources: BytesBySource): void {
    this.#sources = sources
  }

  /** The request passes to the registry. @returns what counts the bytes of its answer */
  passes(outcome: RequestOutcome): ResponseWatcher {
    const reason = (PASS_REASONS as Partial<Record<RequestOutcome, string>>)[outcome]
    if (reason !== undefined) this.fell(reason)
    let status = 0
    this.#passed = 'interrupted'
    return {
      onStart: (answered) => {
        status = answered
        this.isForgotten = status === CHALLENGE_STATUS
        if (status >= 400) this.fell(`HTTP_${status}`)
      },
      onData: (chunk) => {
        if (status < 300) this.#passedBytes += chunk.length
      },
      onEnd: () => {
        this.#passed = status >= 400 ? 'failed' : 'done'
      },
    }
  }

  /** @param outcome as the metrics count it; `error`: thrown before an answer began */
  end(outcome: RequestOutcome): void {
    if (outcome === 'swarm') this.outcome = 'done'
    else if (outcome === 'client_gone') this.outcome = 'interrupted'
    else if (outcome === 'cut_short' || outcome === 'error') this.outcome = 'failed'
    else this.outcome = this.#passed ?? 'interrupted'
    if (outcome === 'range_unsatisfiable') this.isForgotten = true
    this.#onEnd()
  }
}
