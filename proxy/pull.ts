import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { BlobRequest, Client, OpenBlob } from '../client/index.ts'
import { lengthBehindRedirects } from '../core/blob-get.ts'
import type { Defects } from '../core/defects.ts'
import { reasonOf, ShoalError } from '../core/errors.ts'
import { isSettledWithin } from '../core/patience.ts'
import { type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import type { AcceptedRequests } from './accepted-requests.ts'
import { authorise, LATE_MS, type LateVerdict, type Verdict } from './authorise.ts'
import { type BlobGet, readBlobGet } from './blob-request.ts'
import { sendBlob } from './blob-response.ts'
import { type ByteSpan, spanOf } from './byte-range.ts'
import { respondWithError } from './error-response.ts'
import type { ManifestPlans } from './manifest-plans.ts'
import type { ProxyMetrics, RequestOutcome } from './metrics.ts'
import type { LayerAccount, PullRecords } from './pull-records.ts'
import { allOf, forward, goneSignal, type ResponseWatcher } from './upstream/forward.ts'
import type { RegistryReach } from './upstream/registry-reach.ts'

/**
 * The life of a request inside an intercepted connection, in the order of docs/a-pull.md. The rule of every step: until
 * the first byte is sent, the registry steps in for whatever Shoal cannot do, with the request's own credentials.
 */

export interface PullParts {
  client: Client
  plans: ManifestPlans
  strangers: Strangers
  accepted: AcceptedRequests<Verdict>
  reach: RegistryReach
  metrics: ProxyMetrics
  records: PullRecords
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

/** Connections of clients on which a request was answered before. */
const served = new WeakSet<object>()

/** Answers a request. Never rejects: a failure becomes an answer or a cut connection. */
export async function answer(parts: PullParts, exchange: Exchange): Promise<void> {
  // HTTP takes it from the request when the connection ends with the answer.
  const { socket } = exchange.request
  try {
    const wanted = readBlobGet(exchange.request)
    if (wanted !== undefined) beginAccount(parts, exchange, wanted)
    const outcome =
      wanted === undefined
        ? await passThrough(parts, exchange, 'registry_not_a_blob')
        : await answerBlob(parts, exchange, wanted)
    parts.metrics.requestAnswered(outcome)
    exchange.account?.end(outcome)
    served.add(socket)
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

  if (exchange.registry.habits.has('redirectRefused'))
    return passThrough(parts, exchange, 'registry_redirect_refused')
  const bytesPlanned = plannedBytes(parts, exchange, wanted)
  const verdict = await authorise(parts, exchange, { ...wanted, bytesPlanned })
  if (verdict.refusal === 'registry_late') return answerLate(parts, exchange, wanted, verdict)
  return answerJudged(parts, exchange, wanted, verdict)
}

/** The registry gave its word, or the client vouches. */
async function answerJudged(
  parts: PullParts,
  exchange: Exchange,
  wanted: BlobGet,
  verdict: Verdict,
): Promise<RequestOutcome> {
  if (verdict.refusal !== undefined) return passThrough(parts, exchange, verdict.refusal)

  const bytes =
    verdict.bytes ??
    plannedBytes(parts, exchange, wanted) ??
    (await bytesBehindRedirects(parts, exchange, wanted))
  if (bytes === undefined) return passThrough(parts, exchange, 'registry_length_unknown')
  exchange.account?.size(bytes)
  if (bytes < parts.p2pMinBytes) return passThrough(parts, exchange, 'registry_small_blob')

  const span = requestedSpan(exchange, wanted, bytes)
  if (span.status === 416) return refuseRange(exchange, bytes)

  const blob = await openBlob(parts, exchange, wanted, { bytes, part: span })
  if (blob === undefined) return passThrough(parts, exchange, 'registry_fallback')
  if (verdict.acceptedAtMs !== undefined)
    parts.client.sawAccepted(blobRequest(exchange, wanted, bytes), verdict.acceptedAtMs)

  exchange.account?.reads(blob.sources)
  const sent = await sendBlob(exchange.response, blob, { digest: wanted.digest, span })
  parts.metrics.served(sent.bytes)
  if (blob.fallback !== undefined) exchange.account?.fell(blob.fallback)
  if (sent.error !== undefined) noteFailure(parts, exchange, wanted, sent.error)
  return sent.isUntouched ? passThrough(parts, exchange, 'registry_fallback') : sent.outcome
}

/**
 * No word yet: the client's own request goes to the registry, which decides as it does without Shoal. If the registry does
 * not begin to answer either, the client may vouch.
 */
async function answerLate(
  parts: PullParts,
  exchange: Exchange,
  wanted: BlobGet,
  { later }: LateVerdict,
): Promise<RequestOutcome> {
  const vouched = new AbortController()
  const isVouched = (word: Verdict | undefined) =>
    word !== undefined && word.refusal === undefined && word.acceptedAtMs === undefined
  void later.then((word) => isVouched(word) && vouched.abort(new Error('the client vouches')))
  try {
    return await passThrough(parts, exchange, 'registry_late', vouched.signal)
  } catch (error) {
    const word = await later
    if (word === undefined || !isVouched(word)) throw error
    return answerJudged(parts, exchange, wanted, word)
  }
}

function isKnownSmall(parts: PullParts, exchange: Exchange, wanted: BlobGet): boolean {
  const planned = plannedBytes(parts, exchange, wanted)
  return planned !== undefined && planned < parts.p2pMinBytes
}

function plannedBytes({ plans }: PullParts, { registry }: Exchange, wanted: BlobGet): number | undefined {
  return plans.bytesOf(registry.host, wanted.repository, wanted.digest)
}

/**
 * Asks where the registry redirects to, because neither HEAD nor a manifest told the length. A length that comes too late
 * for this request is remembered for the next.
 */
async function bytesBehindRedirects(
  { plans }: PullParts,
  { registry, response }: Exchange,
  { repository, digest, authorization, query }: BlobGet,
): Promise<number | undefined> {
  const signal = goneSignal(response)
  const asked = lengthBehindRedirects({ registry, repository, digest, authorization, query, signal }).then(
    (bytes) => {
      if (bytes !== undefined) plans.noteBytes(registry.host, repository, { digest, bytes })
      return bytes
    },
    // The client's own request shows what is wrong.
    () => undefined,
  )
  return (await isSettledWithin(asked, LATE_MS)) ? asked : undefined
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
  giveUp?: AbortSignal,
): Promise<Outcome> {
  if (response.destroyed) return outcome
  const upstream = {
    dispatcher: registry.passThrough,
    path: request.url!,
    ...(giveUp && { giveUp }),
    unreachable: (cause: Error) => new RegistryUnreachableError(registry.host, { cause }),
  }
  const watcher = allOf([
    account?.passes(outcome),
    outcome === 'registry_refused' ? refusalWatch(registry, request) : undefined,
    plans.watch(request, registry.host),
  ])
  await forward(request, response, upstream, watcher)
  return outcome
}

/** The registry refused the question and serves the request: the next question may not rest on HEAD alone. */
function refusalWatch({ habits }: RegistryClient, request: IncomingMessage): ResponseWatcher {
  const onStart = (status: number) => {
    if (status === 200 || status === 206) habits.forget('headHonest', readBlobGet(request)?.repository)
  }
  return { onStart, onData: () => undefined, onEnd: () => undefined }
}

function answerFailure(
  { reach, log, defects }: PullParts,
  { response, registry, request }: Exchange,
  error: unknown,
): void {
  if (response.destroyed) return
  if (error instanceof ShoalError) {
    const isTunnelledNext = error instanceof RegistryUnreachableError && reach.failed(registry, error)
    log.warn(
      { registry: registry.host, method: request.method, code: error.code, reason: error.message },
      'request failed',
    )
    // A client repeats a request whose kept connection ends before any answer, in a new connection, which is a tunnel.
    if (isTunnelledNext && served.has(request.socket)) response.destroy()
    else respondWithError(response, error)
    return
  }
  // A defect costs only this request: other pulls run in this process.
  defects.note('proxy_request', error, { registry: registry.host })
  response.destroy()
}
