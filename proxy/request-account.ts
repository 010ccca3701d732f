import type { IncomingMessage } from 'node:http'
import type { Logger } from 'pino'
import type { BytesBySource } from '../client/index.ts'
import type { Defects } from '../core/defects.ts'
import { reasonOf, ShoalError } from '../core/errors.ts'
import type { RegistryClient } from '../core/registry-client.ts'
import type { BlobGet } from './blob-request.ts'
import type { LayerAccount } from './layer-account.ts'
import type { ProxyMetrics, RequestOutcome } from './metrics.ts'
import type { PullSource } from './pull-record.ts'
import type { PullRecords } from './pull-records.ts'
import type { ResponseWatcher } from './upstream/forward.ts'

export interface AccountParts {
  metrics: ProxyMetrics
  records: PullRecords
  log: Logger
  defects: Defects
}

/**
 * What becomes of one request, told once here for the metrics, the records of pulls and the log. Call `end` or `failed`
 * exactly once.
 */
export class RequestAccount {
  readonly #parts: AccountParts
  readonly #registry: RegistryClient
  readonly #request: IncomingMessage
  #blob: { wanted: BlobGet; layer: LayerAccount } | undefined

  constructor(
    parts: AccountParts,
    { registry, request }: { registry: RegistryClient; request: IncomingMessage },
  ) {
    this.#parts = parts
    this.#registry = registry
    this.#request = request
  }

  /** The request is for a blob. */
  asks(wanted: BlobGet): void {
    const { repository, digest } = wanted
    const isPart = this.#request.headers.range !== undefined
    const layer = this.#parts.records.begin({ registry: this.#registry.host, repository, digest, isPart })
    this.#blob = { wanted, layer }
  }

  /** Bytes of the whole blob. */
  size(bytes: number): void {
    this.#blob?.layer.size(bytes)
  }

  /** The client reads from the swarm; the numbers grow meanwhile. */
  reads(sources: BytesBySource): void {
    this.#blob?.layer.reads(sources)
  }

  /** The client waited this long for a chunk of that source. */
  waited(source: PullSource, ms: number): void {
    this.#blob?.layer.waited(source, ms)
  }

  sent(bytes: number): void {
    this.#parts.metrics.served(bytes)
  }

  /** The request passes to the registry. @returns what counts the bytes of its answer */
  passes(outcome: RequestOutcome): ResponseWatcher | undefined {
    return this.#blob?.layer.passes(outcome)
  }

  /** The registry serves the rest of a blob, for this reason. @returns whether it is the pull's first such */
  fell(code: string): boolean {
    return this.#blob?.layer.fell(code) ?? true
  }

  /** The swarm began, and the registry gave the client the rest without a break. The swarm has logged why. */
  restFromRegistry(code: string): void {
    this.#parts.metrics.fellBack(code)
    this.fell(code)
  }

  /**
   * The blob, or its rest, does not come from the swarm. Docker gets its layer even after an unexpected error. One line for
   * a pull and reason: while the tracker is off, each of a hundred layers would cost another.
   */
  swarmFailed(error: unknown): void {
    const { metrics, log, defects } = this.#parts
    const code = codeOf(error)
    metrics.fellBack(code)
    const level = this.fell(code) ? 'warn' : 'debug'
    const facts = {
      pullId: this.#blob?.layer.pull.id,
      registry: this.#registry.host,
      repository: this.#blob?.wanted.repository,
      digest: this.#blob?.wanted.digest,
      code,
    }
    if (code === 'UNEXPECTED') defects.note('proxy_request', error, facts)
    else log[level]({ ...facts, reason: reasonOf(error) }, 'the swarm cannot serve a blob')
  }

  /** The request was answered. */
  end(outcome: RequestOutcome): void {
    this.#parts.metrics.requestAnswered(outcome)
    this.#blob?.layer.end(outcome)
  }

  /** An error ended the request. */
  failed(error: unknown, { isClientGone }: { isClientGone: boolean }): void {
    this.fell(codeOf(error))
    this.end(isClientGone ? 'client_gone' : 'error')
  }
}

function codeOf(error: unknown): string {
  return error instanceof ShoalError ? error.code : 'UNEXPECTED'
}
