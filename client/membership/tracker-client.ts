import type { Dispatcher } from 'undici'
import type { z } from 'zod'
import { type BatchesRequest, type BatchesResponse, batchesResponse } from '../../core/batches-api.ts'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { clockAheadSeconds, SKEW_SECONDS_MIN } from '../../core/clock-skew.ts'
import type { Conditions } from '../../core/conditions.ts'
import { connectorOf } from '../../core/connector.ts'
import { Agent } from '../../core/http-dispatchers.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import { isAboutTime, registryFailure } from '../../core/registry-failure.ts'
import {
  type CompleteRequest,
  type CompleteResponse,
  completeResponse,
  errorBody,
  type HashesRequest,
  type HashesResponse,
  type HeartbeatRequest,
  type HeartbeatResponse,
  hashesResponse,
  heartbeatResponse,
  type JoinRequest,
  type JoinResponse,
  joinResponse,
  type MismatchRequest,
  mismatchResponse,
  type PullRequest,
  type PullResponse,
  pullResponse,
  type RenewRequest,
  type RenewResponse,
  renewResponse,
} from '../../core/tracker-api.ts'
import { contextTrusting, failureText, trustedAuthorities } from '../../core/trusted-authorities.ts'
import type { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'

/** Timeout of one call. No reader waits for it. */
const CALL_MS_MAX = 10_000
/** Size of one answer: a grant of 128 blobs with all their hashes stays far below. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024
/** Nesting of an answer: a grant, its swarms, a swarm, its batches, a batch; a token key is as deep. */
const ANSWER_DEPTH_MAX = 8
/** Connections for heartbeats, grants and publications at the same time. */
const CONNECTIONS_MAX = 4

export interface TrackerIdentity {
  certificatePem: string
  privateKeyPem: string
}

export interface TrackerWay {
  trackerUrl: string
  trackerCaPem: string | undefined
  upstreamProxy?: UpstreamProxy | undefined
  conditions?: Conditions | undefined
}

/** The tracker's API (core/tracker-api.ts) over HTTPS; mutual TLS once the node has its certificate. */
export class TrackerClient {
  readonly #origin: string
  readonly #authorities: string[]
  readonly #proxy: UpstreamProxy | undefined
  readonly #conditions: Conditions | undefined
  #agent: Agent

  constructor(options: TrackerWay) {
    this.#origin = new URL(options.trackerUrl).origin
    this.#proxy = options.upstreamProxy
    this.#conditions = options.conditions
    this.#authorities = trustedAuthorities(options.trackerCaPem, 'trackerCaFile')
    this.#agent = this.#connect(undefined)
  }

  /** Uses a new node certificate from the next call on. */
  identify(identity: TrackerIdentity): void {
    const before = this.#agent
    this.#agent = this.#connect(identity)
    void before.close()
  }

  join(request: JoinRequest): Promise<JoinResponse> {
    return this.#call('/v1/nodes', request, joinResponse)
  }

  pull(request: PullRequest, patienceMs: number): Promise<PullResponse> {
    return this.#call('/v1/pulls', request, pullResponse, patienceMs)
  }

  renew(pull: string, request: RenewRequest = {}): Promise<RenewResponse> {
    return this.#call(`/v1/pulls/${encodeURIComponent(pull)}/renew`, request, renewResponse)
  }

  batches(swarm: SwarmId, request: BatchesRequest): Promise<BatchesResponse> {
    return this.#call(`/v1/swarms/${swarm}/batches`, request, batchesResponse)
  }

  hashes(swarm: SwarmId, request: HashesRequest): Promise<HashesResponse> {
    return this.#call(`/v1/swarms/${swarm}/hashes`, request, hashesResponse)
  }

  complete(swarm: SwarmId, request: CompleteRequest): Promise<CompleteResponse> {
    return this.#call(`/v1/swarms/${swarm}/complete`, request, completeResponse)
  }

  mismatch(swarm: SwarmId, request: MismatchRequest): Promise<{ epoch: number }> {
    return this.#call(`/v1/swarms/${swarm}/mismatch`, request, mismatchResponse)
  }

  heartbeat(request: HeartbeatRequest): Promise<HeartbeatResponse> {
    return this.#call('/v1/heartbeat', request, heartbeatResponse)
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  /** One context for all connections: parsing the system's authorities for each costs 20 ms and memory. */
  #connect(identity: TrackerIdentity | undefined): Agent {
    const context = contextTrusting(this.#authorities, identity)
    return new Agent({
      connections: CONNECTIONS_MAX,
      maxResponseSize: ANSWER_BYTES_MAX,
      headersTimeout: CALL_MS_MAX,
      bodyTimeout: CALL_MS_MAX,
      connect: connectorOf({ context: () => context, timeout: CALL_MS_MAX, proxy: this.#proxy }),
    })
  }

  async #call<Schema extends z.ZodType>(
    path: string,
    body: unknown,
    schema: Schema,
    patienceMs = CALL_MS_MAX,
  ): Promise<z.output<Schema>> {
    const answer = await this.#send(path, body, patienceMs)
    if (answer.status !== 200) throw refusalOf(path, answer)
    const parsed = schema.safeParse(answer.body)
    if (!parsed.success)
      throw new TrackerUnavailableError(`unexpected answer to ${path}`, { cause: parsed.error })
    return parsed.data
  }

  async #send(path: string, body: unknown, patienceMs: number): Promise<{ status: number; body: unknown }> {
    const request: Dispatcher.RequestOptions = {
      origin: this.#origin,
      path,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(patienceMs),
    }
    try {
      const response = await this.#agent.request(request)
      const text = await response.body.text()
      const body = parseBoundedJson(text, { charsMax: ANSWER_BYTES_MAX, depthMax: ANSWER_DEPTH_MAX })
      this.#conditions?.clear('CLOCK_SKEWED', this.#origin)
      return { status: response.statusCode, body }
    } catch (cause) {
      if (isAboutTime(cause)) void this.#compareClocks()
      throw unavailable(path, cause as Error)
    }
  }

  async #compareClocks(): Promise<void> {
    const { hostname, port } = new URL(this.#origin)
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    const way = { context: contextTrusting(this.#authorities), proxy: this.#proxy }
    const seconds = await clockAheadSeconds({ host, port: Number(port || 443) }, way)
    if (seconds === undefined || Math.abs(seconds) < SKEW_SECONDS_MIN) return
    this.#conditions?.raise('CLOCK_SKEWED', this.#origin, { aheadSeconds: seconds })
  }
}

/** For a certificate that does not verify, in words of our own: Node's name its flags, and a log shows a cause's words too. */
function unavailable(path: string, cause: Error): TrackerUnavailableError {
  const text = `no answer from the tracker to ${path}`
  if (registryFailure(cause) !== 'certificate') return new TrackerUnavailableError(text, { cause })
  return new TrackerUnavailableError(`${text}: ${failureText(cause, '--tracker-ca-file')}`)
}

function refusalOf(path: string, answer: { status: number; body: unknown }): Error {
  const parsed = errorBody.safeParse(answer.body)
  if (!parsed.success || answer.status >= 500) {
    return new TrackerUnavailableError(`the tracker answered ${answer.status} to ${path}`)
  }
  return new TrackerRefusedError(parsed.data.error.message, {
    trackerCode: parsed.data.error.code,
    status: answer.status,
  })
}
