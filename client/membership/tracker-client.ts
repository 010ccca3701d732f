import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { Dispatcher } from 'undici'
import type { z } from 'zod'
import { type BatchesRequest, type BatchesResponse, batchesResponse } from '../../core/batches-api.ts'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { Agent } from '../../core/http-dispatchers.ts'
import type { SwarmId } from '../../core/metainfo.ts'
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
import { trustedAuthorities } from '../../core/trusted-authorities.ts'
import { TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import { TrackerStanding } from './tracker-standing.ts'

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

/** The tracker's API (core/tracker-api.ts) over HTTPS; mutual TLS once the node has its certificate. */
export class TrackerClient {
  readonly standing = new TrackerStanding()
  readonly #origin: string
  readonly #authorities: string[]
  #agent: Agent

  constructor(options: { trackerUrl: string; trackerCaPem: string | undefined }) {
    this.#origin = new URL(options.trackerUrl).origin
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
    const tls: SecureContextOptions = { ca: this.#authorities, minVersion: 'TLSv1.2' }
    if (identity) Object.assign(tls, { cert: identity.certificatePem, key: identity.privateKeyPem })
    return new Agent({
      connections: CONNECTIONS_MAX,
      maxResponseSize: ANSWER_BYTES_MAX,
      headersTimeout: CALL_MS_MAX,
      bodyTimeout: CALL_MS_MAX,
      // Set explicitly: an environment variable can change Node's default.
      connect: {
        secureContext: createSecureContext(tls),
        rejectUnauthorized: true,
        timeout: CALL_MS_MAX,
      },
    })
  }

  async #call<Schema extends z.ZodType>(
    path: string,
    body: unknown,
    schema: Schema,
    patienceMs = CALL_MS_MAX,
  ): Promise<z.output<Schema>> {
    try {
      const answer = await this.#send(path, body, patienceMs)
      if (answer.status !== 200) throw refusalOf(path, answer)
      const parsed = schema.safeParse(answer.body)
      if (!parsed.success)
        throw new TrackerUnavailableError(`unexpected answer to ${path}`, { cause: parsed.error })
      this.standing.answered()
      return parsed.data
    } catch (error) {
      this.standing.failed(error)
      throw error
    }
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
      return { status: response.statusCode, body }
    } catch (cause) {
      throw new TrackerUnavailableError(`no answer from the tracker to ${path}`, { cause })
    }
  }
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
