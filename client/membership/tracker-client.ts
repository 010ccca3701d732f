import type { Dispatcher } from 'undici'
import type { z } from 'zod'
import { type BatchesRequest, type BatchesResponse, batchesResponse } from '../../core/batches-api.ts'
import { parseBoundedJson } from '../../core/bounded-json.ts'
import { clockAheadSeconds, noteSkew } from '../../core/clock-skew.ts'
import type { Conditions } from '../../core/conditions.ts'
import { connectorOf } from '../../core/connector.ts'
import { Agent } from '../../core/http-dispatchers.ts'
import { type JoinRequest, type JoinResponse, joinResponse } from '../../core/join-api.ts'
import { leaveResponse } from '../../core/leave-api.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import { type MismatchRequest, mismatchResponse } from '../../core/mismatch-api.ts'
import { untilAborted } from '../../core/patience.ts'
import { type ReachRequest, type ReachResponse, reachResponse } from '../../core/reach-api.ts'
import { isAboutTime, registryFailure } from '../../core/registry-failure.ts'
import {
  type CompleteRequest,
  type CompleteResponse,
  completeResponse,
  type HashesRequest,
  type HashesResponse,
  type HeartbeatRequest,
  type HeartbeatResponse,
  hashesResponse,
  heartbeatResponse,
  type PullRequest,
  type PullResponse,
  pullResponse,
  type RenewRequest,
  type RenewResponse,
  renewResponse,
} from '../../core/tracker-api.ts'
import { contextTrusting, failureText, trustedAuthorities } from '../../core/trusted-authorities.ts'
import type { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { shoalUserAgent } from '../../core/user-agent.ts'
import { TrackerUnavailableError } from '../errors.ts'
import { type Answer, codeOf, refusalOf } from './tracker-answer.ts'
import type { TrackerWatch } from './tracker-watch.ts'

/** Timeout of one call. No reader waits for it. */
const CALL_MS_MAX = 10_000
/** Size of one answer: a grant of 128 blobs with all their hashes stays far below. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024
/** Nesting of an answer: a grant, its swarms, a swarm, its batches, a batch; a token key is as deep. */
const ANSWER_DEPTH_MAX = 8
/** Timeout of a grant: the tracker may wait for a slow registry. Blobs wait for a part of it (grants.ts). */
const GRANT_MS_MAX = 30_000
/** The same where another tracker can be asked: so many that are frozen are passed before a call has waited SILENT_MS_MAX. */
const HEARTBEAT_OF_SEVERAL_MS_MAX = 1_000
/** Timeout of a heartbeat. One that gets no answer in this time makes the tracker suspect (tracker-state.ts). */
const HEARTBEAT_MS_MAX = 2_000
/** Connections for publications and the like at the same time. */
const CONNECTIONS_MAX = 4
/** Connections for grants. They have their own: a slow registry holds them for seconds. */
const GRANT_CONNECTIONS_MAX = 4

export interface TrackerIdentity {
  certificatePem: string
  privateKeyPem: string
}

interface Agents {
  calls: Agent
  grants: Agent
  /** A heartbeat shows whether the tracker answers: it never waits behind another call. */
  heartbeats: Agent
}

/** How a call is made. */
interface CallOptions {
  over: keyof Agents
  patienceMs: number
  signal?: AbortSignal
}

const PLAIN: CallOptions = { over: 'calls', patienceMs: CALL_MS_MAX }

export interface TrackerClientOptions {
  /** Undefined: `aim` names it later. */
  trackerUrl: string | undefined
  /** Trackers of the same cluster, for when that one does not answer. */
  otherTrackerUrls?: readonly string[]
  trackerCaPem: string | undefined
  /** Trust nothing else than `trackerCaPem`, not the system's authorities either. */
  isPinned?: boolean
  upstreamProxy?: UpstreamProxy | undefined
  conditions: Conditions
  watch: TrackerWatch
}

/**
 * The tracker's API (core/tracker-api.ts) over HTTPS; mutual TLS once the node has its certificate. Of several trackers
 * one is asked, until it does not answer: then the next, also for what is in flight.
 */
export class TrackerClient {
  /** Whether the tracker answers. */
  readonly watch: TrackerWatch
  #origins: readonly string[]
  /** Ends the requests in flight to a tracker that was left. */
  #left = new AbortController()
  #authorities: string[]
  readonly #proxy: UpstreamProxy | undefined
  readonly #conditions: Conditions
  readonly #userAgent = shoalUserAgent()
  #agents: Agents

  constructor(options: TrackerClientOptions) {
    const { trackerUrl, otherTrackerUrls = [] } = options
    this.#origins = trackerUrl === undefined ? [] : originsOf([trackerUrl, ...otherTrackerUrls])
    this.#proxy = options.upstreamProxy
    this.#conditions = options.conditions
    this.#authorities = options.isPinned
      ? [options.trackerCaPem ?? '']
      : trustedAuthorities(options.trackerCaPem, 'trackerCaFile')
    this.watch = options.watch
    this.#agents = this.#connect(undefined)
  }

  /** Undefined before it is known where the tracker is. */
  get origin(): string | undefined {
    return this.#origins[0]
  }

  /** Why no call may be made. */
  async whyNot(): Promise<TrackerUnavailableError | undefined> {
    return this.origin === undefined ? notJoined() : this.watch.whyNot()
  }

  /** Whether it asks exactly these trackers. */
  isAimedAt(trackerUrls: readonly string[]): boolean {
    const wanted = new Set(originsOf(trackerUrls))
    return wanted.size === this.#origins.length && this.#origins.every((origin) => wanted.has(origin))
  }

  /** From now on the trackers are there, and no other authority counts. */
  aim(trackerUrls: readonly string[], trackerCaPem: string): void {
    this.#origins = originsOf(trackerUrls)
    this.watch.trackerUrl = this.origin ?? ''
    this.#authorities = [trackerCaPem]
    this.#reconnect(undefined)
  }

  /** Uses a new node certificate from the next call on. */
  identify(identity: TrackerIdentity): void {
    this.#reconnect(identity)
  }

  #reconnect(identity: TrackerIdentity | undefined): void {
    const before = this.#agents
    this.#agents = this.#connect(identity)
    for (const agent of Object.values(before)) void agent.close()
  }

  join(request: JoinRequest): Promise<JoinResponse> {
    return this.watch.probe(() => this.#call('/v1/nodes', request, joinResponse, PLAIN))
  }

  /** Gives the identity back. */
  leave(): Promise<object> {
    return this.watch.probe(() => this.#call('/v1/nodes/leave', {}, leaveResponse, PLAIN))
  }

  pull(request: PullRequest, patienceMs = GRANT_MS_MAX): Promise<PullResponse> {
    const options: CallOptions = { over: 'grants', patienceMs }
    return this.#callOfPull('/v1/pulls', request, pullResponse, options)
  }

  renew(pull: string, request: RenewRequest = {}): Promise<RenewResponse> {
    return this.#callOfPull(`/v1/pulls/${encodeURIComponent(pull)}/renew`, request, renewResponse)
  }

  batches(swarm: SwarmId, request: BatchesRequest): Promise<BatchesResponse> {
    return this.#callOfPull(`/v1/swarms/${swarm}/batches`, request, batchesResponse)
  }

  hashes(swarm: SwarmId, request: HashesRequest): Promise<HashesResponse> {
    return this.#callOfPull(`/v1/swarms/${swarm}/hashes`, request, hashesResponse)
  }

  complete(swarm: SwarmId, request: CompleteRequest): Promise<CompleteResponse> {
    return this.#callOfPull(`/v1/swarms/${swarm}/complete`, request, completeResponse)
  }

  mismatch(swarm: SwarmId, request: MismatchRequest): Promise<{ epoch: number }> {
    return this.#callOfPull(`/v1/swarms/${swarm}/mismatch`, request, mismatchResponse)
  }

  /** The tracker dials this node back, and tells of another one. */
  reach(request: ReachRequest): Promise<ReachResponse> {
    return this.#callOfPull('/v1/reach', request, reachResponse)
  }

  heartbeat(request: HeartbeatRequest): Promise<HeartbeatResponse> {
    const options: CallOptions = { over: 'heartbeats', patienceMs: HEARTBEAT_MS_MAX }
    return this.watch.probe(() => this.#call('/v1/heartbeat', request, heartbeatResponse, options))
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#agents).map((agent) => agent.destroy()))
  }

  /** One context for all connections, as late as may be: parsing the system's authorities for each costs 20 ms and memory. */
  #connect(identity: TrackerIdentity | undefined): Agents {
    // A node that has an identity calls nobody without it.
    let made = identity && contextTrusting(this.#authorities, identity)
    const context = () => {
      made ??= contextTrusting(this.#authorities)
      return made
    }
    const agent = (connections: number, patienceMs: number) =>
      new Agent({
        connections,
        maxResponseSize: ANSWER_BYTES_MAX,
        headersTimeout: patienceMs,
        bodyTimeout: patienceMs,
        connect: connectorOf({
          context,
          timeout: Math.min(patienceMs, CALL_MS_MAX),
          proxy: this.#proxy,
        }),
      })
    return {
      calls: agent(CONNECTIONS_MAX, CALL_MS_MAX),
      grants: agent(GRANT_CONNECTIONS_MAX, GRANT_MS_MAX),
      heartbeats: agent(1, HEARTBEAT_MS_MAX),
    }
  }

  /** A call that a pull needs: it fails at once while the tracker is off. */
  #callOfPull<Schema extends z.ZodType>(path: string, body: unknown, schema: Schema, options = PLAIN) {
    return this.watch.call((signal) => this.#call(path, body, schema, { ...options, signal }))
  }

  async #call<Schema extends z.ZodType>(
    path: string,
    body: unknown,
    schema: Schema,
    options: CallOptions,
  ): Promise<z.output<Schema>> {
    const answer = await this.#send(path, body, options)
    if (answer.status !== 200) throw refusalOf(path, answer)
    const parsed = schema.safeParse(answer.body)
    if (!parsed.success)
      throw new TrackerUnavailableError(`unexpected answer to ${path}`, { cause: parsed.error })
    return parsed.data
  }

  /** Asks the tracker; while it does not answer, each of the others once. */
  async #send(path: string, body: unknown, options: CallOptions): Promise<Answer> {
    const { over, signal } = options
    for (let tried = 1; ; tried += 1) {
      const { origin } = this
      if (origin === undefined) throw notJoined()
      const isLast = tried >= this.#origins.length
      const isOfSeveral = over === 'heartbeats' && !isLast
      const patience = isOfSeveral ? { patienceMs: HEARTBEAT_OF_SEVERAL_MS_MAX } : {}
      try {
        const answer = await this.#sendTo(origin, path, body, { ...options, ...patience })
        if (isLast || answer.status !== 503 || codeOf(answer) === 'REGISTRY_UNREACHABLE') return answer
      } catch (error) {
        // Whoever waits long for a slow registry is told so by the same tracker: only heartbeats judge by time.
        const isSlow = over !== 'heartbeats' && isTimeout(error as Error) && this.origin === origin
        if (isLast || isSlow || signal?.aborted) throw error
      }
      this.#leave(origin)
    }
  }

  #leave(origin: string): void {
    if (this.origin !== origin) return
    this.#origins = [...this.#origins.slice(1), origin]
    const { watch } = this
    watch.moveTo(this.origin ?? '')
    this.#left.abort()
    this.#left = new AbortController()
  }

  async #sendTo(origin: string, path: string, body: unknown, options: CallOptions): Promise<Answer> {
    const { over, patienceMs, signal } = options
    const late = AbortSignal.timeout(patienceMs)
    const ended = AbortSignal.any([late, this.#left.signal, ...(signal ? [signal] : [])])
    const request: Dispatcher.RequestOptions = {
      origin,
      path,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': this.#userAgent },
      body: JSON.stringify(body),
      signal: ended,
    }
    try {
      const answered = this.#agents[over].request(request).then(async ({ statusCode, body }) => {
        return { statusCode, text: await body.text() }
      })
      const { statusCode, text } = await untilAborted(answered, ended)
      const body = parseBoundedJson(text, { charsMax: ANSWER_BYTES_MAX, depthMax: ANSWER_DEPTH_MAX })
      this.#conditions.clear('CLOCK_SKEWED', origin)
      return { status: statusCode, body }
    } catch (cause) {
      if (isAboutTime(cause)) void this.#compareClocks(origin)
      throw unavailable(path, cause as Error)
    }
  }

  async #compareClocks(origin: string): Promise<void> {
    const { hostname, port } = new URL(origin)
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    const route = { context: contextTrusting(this.#authorities), proxy: this.#proxy }
    const seconds = await clockAheadSeconds({ host, port: Number(port || 443) }, route)
    noteSkew(this.#conditions, origin, seconds)
  }
}

function originsOf(trackerUrls: readonly string[]): string[] {
  return [...new Set(trackerUrls.map((url) => new URL(url).origin))]
}

function isTimeout({ cause }: { cause?: unknown }): boolean {
  return cause instanceof Error && cause.name === 'TimeoutError'
}

function notJoined(): TrackerUnavailableError {
  return new TrackerUnavailableError('this node has not joined a cluster')
}

/** For a certificate that does not verify, in words of our own: Node's name its flags, and a log shows a cause's words too. */
function unavailable(path: string, cause: Error): TrackerUnavailableError {
  const text = `no answer from the tracker to ${path}`
  if (registryFailure(cause) !== 'certificate') return new TrackerUnavailableError(text, { cause })
  return new TrackerUnavailableError(`${text}: ${failureText(cause, '--tracker-ca-file')}`)
}
