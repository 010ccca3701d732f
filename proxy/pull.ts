import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { BlobRequest, Client, OpenBlob } from '../client/index.ts'
import type { Conditions } from '../core/conditions.ts'
import type { Defects } from '../core/defects.ts'
import { ShoalError } from '../core/errors.ts'
import { type BlobHead, type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import { failureText } from '../core/trusted-authorities.ts'
import type { Authorised } from './authorised.ts'
import { type BlobGet, readBlobGet } from './blob-request.ts'
import { sendBlob } from './blob-response.ts'
import { type ByteSpan, spanOf } from './byte-range.ts'
import { respondWithError } from './error-response.ts'
import type { ManifestPlans } from './manifest-plans.ts'
import type { ProxyMetrics, RequestOutcome } from './metrics.ts'
import { forward, goneSignal } from './upstream/forward.ts'

/**
 * The life of a request inside an intercepted connection, in the order of docs/a-pull.md. The rule of every step: until
 * the first byte is sent, the registry steps in for whatever Shoal cannot do, with the request's own credentials.
 */

export interface PullParts {
  client: Client
  plans: ManifestPlans
  strangers: Strangers
  authorised: Authorised<Authorisation>
  metrics: ProxyMetrics
  conditions: Conditions
  log: Logger
  defects: Defects
  /** Smaller blobs come from the registry, because asking the swarm would take longer. Bytes. */
  p2pMinBytes: number
}

/** One request, and the registry that it is for. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  registry: RegistryClient
}

/** Answers a request. Never rejects: a failure becomes an answer or a cut connection. */
export async function answer(parts: PullParts, exchange: Exchange): Promise<void> {
  try {
    if (exchange.request.headers.authorization !== undefined)
      parts.client.sawCredential(exchange.registry.host)
    const wanted = readBlobGet(exchange.request)
    const outcome =
      wanted === undefined
        ? await passThrough(parts, exchange, 'registry_not_a_blob')
        : await answerBlob(parts, exchange, wanted)
    parts.metrics.requestAnswered(outcome)
  } catch (error) {
    parts.metrics.requestAnswered(exchange.response.destroyed ? 'client_gone' : 'error')
    answerFailure(parts, exchange, error)
  }
}

/** Steps 2 to 7 of docs/a-pull.md, section 3. */
async function answerBlob(parts: PullParts, exchange: Exchange, wanted: BlobGet): Promise<RequestOutcome> {
  if (isKnownSmall(parts, exchange, wanted)) return passThrough(parts, exchange, 'registry_small_blob')

  const authorised = await authorise(parts, exchange, wanted)
  if (authorised.refusal !== undefined) return passThrough(parts, exchange, authorised.refusal)

  const bytes = authorised.bytes ?? plannedBytes(parts, exchange, wanted)
  if (bytes === undefined) return passThrough(parts, exchange, 'registry_length_unknown')
  if (bytes < parts.p2pMinBytes) return passThrough(parts, exchange, 'registry_small_blob')

  const span = requestedSpan(exchange, wanted, bytes)
  if (span.status === 416) return refuseRange(exchange, bytes)

  const blob = await openBlob(parts, exchange, wanted, { bytes, part: span })
  if (blob === undefined) return passThrough(parts, exchange, 'registry_fallback')
  if (authorised.acceptedAtMs !== undefined)
    parts.client.sawAccepted(blobRequest(exchange, wanted, bytes), authorised.acceptedAtMs)

  const sent = await sendBlob(exchange.response, blob, { digest: wanted.digest, span })
  parts.metrics.served(sent.bytes)
  if (sent.error !== undefined) noteFailure(parts, exchange, wanted, sent.error)
  return sent.isUntouched ? passThrough(parts, exchange, 'registry_fallback') : sent.outcome
}

function isKnownSmall(parts: PullParts, exchange: Exchange, wanted: BlobGet): boolean {
  const planned = plannedBytes(parts, exchange, wanted)
  return planned !== undefined && planned < parts.p2pMinBytes
}

function plannedBytes({ plans }: PullParts, { registry }: Exchange, wanted: BlobGet): number | undefined {
  return plans.bytesOf(registry.host, wanted.repository, wanted.digest)
}

/**
 * Whether a request may have its blob, and the blob's length if the registry gave it. `acceptedAtMs`: when the registry
 * itself accepted the request; undefined if the client vouches for it.
 */
export type Authorisation =
  | { refusal?: undefined; acceptedAtMs: number | undefined; bytes: number | undefined }
  | { refusal: 'registry_refused' | 'registry_unproven' | 'registry_busy' | 'registry_limited' }

/**
 * Asks the registry whether it would serve the blob to this very request, once a minute. Only that counts, whatever this
 * node holds.
 * @throws RegistryUnreachableError if there is no answer and the client does not vouch
 */
async function authorise(parts: PullParts, exchange: Exchange, wanted: BlobGet): Promise<Authorisation> {
  const { registry, response } = exchange
  const known = parts.authorised.find(registry.host, wanted)
  if (known !== undefined) return { acceptedAtMs: known.atMs, bytes: known.bytes }
  // It told this node to wait. Docker's own request is not this node's.
  if (registry.limit.leftMs > 0) return { refusal: 'registry_limited' }
  try {
    const ask = (signal: AbortSignal) => askRegistry(parts, exchange, wanted, signal)
    return await parts.authorised.share(registry.host, wanted, { ask, signal: goneSignal(response) })
  } catch (error) {
    if (!(error instanceof RegistryUnreachableError)) throw error
    // A user who fills our own connections must not make the registry seem to be down.
    if (!error.wasAsked) return { refusal: 'registry_busy' }
    const standing = await authoriseWithoutRegistry(parts, exchange, wanted)
    if (standing === undefined) throw error
    return standing
  }
}

async function askRegistry(
  parts: PullParts,
  exchange: Exchange,
  wanted: BlobGet,
  signal: AbortSignal,
): Promise<Authorisation> {
  const { repository, digest, authorization } = wanted
  const head = await exchange.registry.headBlob({ repository, digest, authorization, signal })
  if (head.isPresent) {
    if (!(await showsLeave(parts, exchange, wanted, head))) return { refusal: 'registry_unproven' }
    parts.authorised.note(exchange.registry.host, wanted, head)
    return { acceptedAtMs: Date.now(), bytes: head.bytes }
  }
  const standing = head.status >= 500 ? await authoriseWithoutRegistry(parts, exchange, wanted) : undefined
  return standing ?? { refusal: 'registry_refused' }
}

/**
 * Whether the answer is for this caller alone. An answer with a length is: the length is part of the swarm's name, so a
 * page that answers 200 to everybody leads to no blob. A redirect, or a 200 without length, may be such a page.
 */
async function showsLeave(
  { strangers }: PullParts,
  { registry }: Exchange,
  { repository, digest, authorization }: BlobGet,
  { bytes }: BlobHead & { isPresent: true },
): Promise<boolean> {
  if (bytes !== undefined || registry.kind === 'none') return true
  return authorization !== undefined && strangers.areRefused(registry, { repository, digest })
}

/** Asks the client to vouch if the registry does not answer. */
async function authoriseWithoutRegistry(
  { client }: PullParts,
  { registry }: Exchange,
  { repository, digest, credential }: BlobGet,
): Promise<Authorisation | undefined> {
  const bytes = await client.authorisedWithoutRegistry({
    registry: registry.host,
    repository,
    digest,
    credential,
  })
  return bytes === undefined ? undefined : { acceptedAtMs: undefined, bytes }
}

function requestedSpan({ request }: Exchange, { digest }: BlobGet, bytes: number): ByteSpan {
  const ifRange = request.headersDistinct['if-range']?.join(', ')
  return spanOf({ range: request.headers.range, ifRange }, bytes, `"${digest}"`)
}

/** RFC 9110 §15.5.17. */
function refuseRange({ response }: Exchange, bytes: number): RequestOutcome {
  response.writeHead(416, { 'content-range': `bytes */${bytes}`, 'content-length': 0 })
  response.end()
  return 'range_unsatisfiable'
}

/** @returns undefined if the client cannot help; the reason is logged and counted */
async function openBlob(
  parts: PullParts,
  exchange: Exchange,
  wanted: BlobGet,
  { bytes, part }: { bytes: number; part: { start: number; end: number } },
): Promise<OpenBlob | undefined> {
  try {
    const { start, end } = part
    return await parts.client.open({ ...blobRequest(exchange, wanted, bytes), part: { start, end } })
  } catch (error) {
    noteFailure(parts, exchange, wanted, error)
    return undefined
  }
}

function blobRequest(
  { registry }: Exchange,
  { repository, digest, credential }: BlobGet,
  bytes: number,
): BlobRequest {
  return { registry: registry.host, repository, digest, bytes, credential }
}

/** Logs why a blob does not come from the swarm. Docker gets its layer even after an unexpected error. */
function noteFailure(
  { log, metrics, defects }: PullParts,
  { registry }: Exchange,
  wanted: BlobGet,
  error: unknown,
): void {
  const code = error instanceof ShoalError ? error.code : 'UNEXPECTED'
  const facts = { registry: registry.host, repository: wanted.repository, digest: wanted.digest, code }
  metrics.fellBack(code)
  if (code === 'UNEXPECTED') defects.note('proxy_request', error, facts)
  else log.warn({ ...facts, reason: (error as ShoalError).message }, 'the swarm cannot serve a blob')
}

/** Forwards the request to the registry and the answer to the client, both unchanged. */
async function passThrough<Outcome extends RequestOutcome>(
  { plans }: PullParts,
  { request, response, registry }: Exchange,
  outcome: Outcome,
): Promise<Outcome> {
  if (response.destroyed) return outcome
  const upstream = {
    dispatcher: registry.passThrough,
    path: request.url!,
    unreachable: (cause: Error) =>
      new RegistryUnreachableError(
        `no answer from the registry ${registry.host}: ${failureText(cause, 'caFile')}`,
        {
          cause,
        },
      ),
  }
  await forward(request, response, upstream, plans.watch(request, registry.host))
  return outcome
}

function answerFailure(
  { log, defects }: PullParts,
  { response, registry, request }: Exchange,
  error: unknown,
): void {
  if (response.destroyed) return
  if (error instanceof ShoalError) {
    log.warn(
      { registry: registry.host, method: request.method, code: error.code, reason: error.message },
      'request failed',
    )
    respondWithError(response, error)
    return
  }
  // A defect costs only this request: other pulls run in this process.
  defects.note('proxy_request', error, { registry: registry.host })
  response.destroy()
}
