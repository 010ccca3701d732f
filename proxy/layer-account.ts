import type { BytesBySource } from '../client/index.ts'
import type { RequestOutcome } from './metrics.ts'
import type { LayerRecord, PullBytes, PullOutcome, PullRecord, PullSource } from './pull-record.ts'
import type { ResponseWatcher } from './upstream/forward.ts'
import { addWait, noWaits } from './waits.ts'

/** Reasons in one layer: one for each step of its way, and some for repeated requests. */
const LAYER_REASONS_MAX = 8

/** Outcomes that need no reason: nothing was left out, or the reason is noted where it is found. */
type OutcomeWithout =
  | 'registry_not_a_blob'
  | 'registry_fallback'
  | Exclude<RequestOutcome, `registry_${string}`>

/** Why the registry answers without the swarm having been asked. */
export const PASS_REASONS: Record<Exclude<RequestOutcome, OutcomeWithout>, string> = {
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

  /** The client waited this long for a chunk of that source. */
  waited(source: PullSource, ms: number): void {
    this.#layer.waits ??= {}
    this.#layer.waits[source] ??= noWaits()
    addWait(this.#layer.waits[source], ms)
  }

  /** The client reads from the swarm; the numbers grow meanwhile. */
  reads(sources: BytesBySource): void {
    this.#sources = sources
  }

  /** The request passes to the registry. @returns what counts the bytes of its answer */
  passes(outcome: RequestOutcome): ResponseWatcher {
    const reason = (PASS_REASONS as Partial<Record<RequestOutcome, string>>)[outcome]
    const tell = () => reason !== undefined && this.fell(reason)
    // A late word may still be there before the registry's answer.
    if (outcome !== 'registry_late') tell()
    let status = 0
    let sinceMs = performance.now()
    this.#passed = 'interrupted'
    return {
      onStart: (answered) => {
        tell()
        status = answered
        this.isForgotten = status === CHALLENGE_STATUS
        if (status >= 400) this.fell(`HTTP_${status}`)
      },
      onData: (chunk) => {
        if (status >= 300) return
        this.#passedBytes += chunk.length
        const nowMs = performance.now()
        this.waited('passedThrough', nowMs - sinceMs)
        sinceMs = nowMs
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
    // Without any other reason, the tracker sent this node for them.
    if (this.#sources.registry > 0 && this.#layer.reasons.length === 0) this.fell('FIRST_IN_CLUSTER')
    this.#onEnd()
  }
}
