import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { BlobRequest, Client, OpenBlob } from '../client/index.ts'
import type { Conditions } from '../core/conditions.ts'
import type { Defects } from '../core/defects.ts'
import { reasonOf, ShoalError } from '../core/errors.ts'
import { type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import { failureText } from '../core/trusted-authorities.ts'
import { type Authorisation, authorise } from './authorise.ts'
import type { Authorised } from './authorised.ts'
import { type BlobGet, readBlobGet } from './blob-request.ts'
import { sendBlob } from './blob-response.ts'
import { type ByteSpan, spanOf } from './byte-range.ts'
import { respondWithError } from './error-response.ts'
import type { ManifestPlans } from './manifest-plans.ts'
import type { ProxyMetrics, RequestOutcome } from './metrics.ts'
import type { LayerAccount, PullRecords } from './pull-records.ts'
import { forward } from './upstream/forward.ts'

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
  records: PullRecords
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
  /** Keeps what becomes of a request for a blob. */
  account?: LayerAccount
}

/** Answers a request. Never rejects: a failure becomes an answer or a cut connection. */
export async function answer(parts: PullParts, exchange: Exchange): Promise<void> {
  try {
    if (exchange.request.headers.authorization !== undefined)
      parts.client.sawCredential(exchange.registry.host)
    const wanted = readBlobGet(exchange.request)
    if (wanted !== undefined) beginAccount(parts, exchange, wanted)
    const outcome =
      wanted === undefined
        ? await passThrough(parts, exchange, 'registry_not_a_blob')
        : await answerBlob(parts, exchange, wanted)
    parts.metrics.requestAnswered(outcome)
    exchange.account?.end(outcome)
  } catch (error) {
    const outcome = exchange.response.destroyed ? 'client_gone' : 'error'
    parts.metrics.requestAnswered(outcome)
    exchange.account?.fell(error instanceof ShoalError ? error.code : 'UNEXPECTED')
    exchange.account?.end(outcome)
    answerFailure(parts, exchange, error)
  }
}

function beginAccount({ records }: PullParts, exchange: Exchange, { repository, digest }: BlobGet): void {
  const { registry, request } = exchange
  const isPart = request.headers.range !== undefined
  exchange.account = records.begin({ registry: registry.host, repository, digest, isPart })
}

/** Steps 2 to 7 of docs/a-pull.md, section 3. */
async function answerBlob(parts: PullParts, exchange: Exchange, wanted: BlobGet): Promise<RequestOutcome> {
  if (isKnownSmall(parts, exchange, wanted)) return passThrough(parts, exchange, 'registry_small_blob')

  const authorised = await authorise(parts, exchange, wanted)
  if (authorised.refusal !== undefined) return passThrough(parts, exchange, authorised.refusal)

  const bytes = authorised.bytes ?? plannedBytes(parts, exchange, wanted)
  if (bytes === undefined) return passThrough(parts, exchange, 'registry_length_unknown')
  exchange.account?.size(bytes)
  if (bytes < parts.p2pMinBytes) return passThrough(parts, exchange, 'registry_small_blob')

  const span = requestedSpan(exchange, wanted, bytes)
  if (span.status === 416) return refuseRange(exchange, bytes)

  const blob = await openBlob(parts, exchange, wanted, bytes)
  if (blob === undefined) return passThrough(parts, exchange, 'registry_fallback')
  if (authorised.acceptedAtMs !== undefined)
    parts.client.sawAccepted(blobRequest(exchange, wanted, bytes), authorised.acceptedAtMs)

  exchange.account?.reads(blob.sources)
  const sent = await sendBlob(exchange.response, blob, { digest: wanted.digest, span })
  parts.metrics.served(sent.bytes)
  if (blob.fallback !== undefined) exchange.account?.fell(blob.fallback)
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
  bytes: number,
): Promise<OpenBlob | undefined> {
  try {
    return await parts.client.open(blobRequest(exchange, wanted, bytes))
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
  { registry, account }: Exchange,
  wanted: BlobGet,
  error: unknown,
): void {
  const code = error instanceof ShoalError ? error.code : 'UNEXPECTED'
  const { repository, digest } = wanted
  const facts = { pullId: account?.pullId, registry: registry.host, repository, digest, code }
  metrics.fellBack(code)
  account?.fell(code)
  if (code === 'UNEXPECTED') defects.note('proxy_request', error, facts)
  else log.warn({ ...facts, reason: reasonOf(error) }, 'the swarm cannot serve a blob')
}

/** Forwards the request to the registry and the answer to the client, both unchanged. */
async function passThrough<Outcome extends RequestOutcome>(
  { plans }: PullParts,
  { request, response, registry, account }: Exchange,
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
  await forward(request, response, upstream, account?.passes(outcome) ?? plans.watch(request, registry.host))
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
