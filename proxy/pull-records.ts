import { randomBytes } from 'node:crypto'
import { BoundedMap } from '../core/bounded-map.ts'
import type { Digest } from '../core/digest.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'
import { LayerAccount } from './layer-account.ts'
import {
  addBytes,
  addPullWaits,
  type LayerRecord,
  noBytes,
  PULL_SOURCES,
  type PullBytes,
  type PullOutcome,
  type PullRecord,
  type PullSummary,
  type PullWaits,
} from './pull-record.ts'

/**
 * What became of every pull: an image where its manifest passed, otherwise a single blob. Requests write here when they begin
 * and end; of each chunk they count only how long it was waited for. Invariant: the bytes of a layer by source are the bytes that the pulling client was sent.
 */

/** Pulls that are remembered; the oldest go first. An hour of a busy node: one every seven seconds. */
export const PULLS_KEPT_MAX = 512
/** Layers in all remembered pulls together, about 300 bytes each in the file, and as many for each source. */
export const PULL_LAYERS_KEPT_MAX = 4096
/** Blobs of manifests that passed, which tell which image a blob belongs to: about 30 images with all layers. */
const IMAGE_BLOBS_MAX = 4096
/** After this time without a request, the next one of the same image begins a new pull. */
export const PULL_IDLE_MS = 60_000

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
    const waits: PullWaits = {}
    for (const layer of layers) {
      addBytes(bytes, layer.bytes)
      addPullWaits(waits, layer.waits ?? {})
    }
    const outcome = outcomeOf(layers)
    return {
      ...pull,
      layers,
      beganMs: Math.min(...layers.map(({ beganMs }) => beganMs)),
      ...(outcome === 'running' ? {} : { endedMs: Math.max(...layers.map(({ endedMs = 0 }) => endedMs)) }),
      outcome,
      bytes,
      waits,
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
