import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { BlobRequest, Client, OpenBlob } from '../client/index.ts'
import { lengthBehindRedirects } from '../core/blob-get.ts'
import { ShoalError } from '../core/errors.ts'
import { isSettledWithin } from '../core/patience.ts'
import { type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import { retryAfterMs } from '../core/registry-limit.ts'
import type { Strangers } from '../core/strangers.ts'
import type { AcceptedCallers } from './accepted-callers.ts'
import type { AcceptedRequests } from './accepted-requests.ts'
import { authorise, noteCaller } from './authorise.ts'
import { type BlobGet, readBlobGet } from './blob-request.ts'
import { sendBlob } from './blob-response.ts'
import { type ByteSpan, spanOf } from './byte-range.ts'
import { respondWithError } from './error-response.ts'
import { fetchesTokensElsewhere, withTunnelledRealm } from './intercept/tunnelled-name.ts'
import { LATE_MS, LateWord } from './late-word.ts'
import type { ManifestPlans } from './manifest-plans.ts'
import type { RequestOutcome } from './metrics.ts'
import { keepCopy } from './passing-copy.ts'
import type { Pausing } from './pause.ts'
import type { PushWatch } from './push/push-watch.ts'
import { type AccountParts, RequestAccount } from './request-account.ts'
import type { SizeLimit } from './size-limit.ts'
import { withWholeLocation } from './upstream/end-to-end-headers.ts'
import { allOf, forward, goneSignal, type ResponseWatcher, type Upstream } from './upstream/forward.ts'
import type { RegistryReach } from './upstream/registry-reach.ts'
import type { Verdict } from './verdict.ts'

/**
 * The life of a request inside an intercepted connection, in the order of docs/a-pull.md. The rule of every step: until
 * the first byte is sent, the registry steps in for whatever Shoal cannot do, with the request's own credentials.
 */

export interface PullParts extends AccountParts {
  client: Client
  plans: ManifestPlans
  pushes: PushWatch
  strangers: Strangers
  accepted: AcceptedRequests<Verdict>
  callers: AcceptedCallers
  reach: RegistryReach
  pause: Pausing
  /** Connections of clients on which a request was answered before. */
  served: WeakSet<Socket>
  limit: Readonly<SizeLimit>
}

/** One request, and the registry that it is for. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  registry: RegistryClient
  /** It came to the mirror: its Host is not the registry's, and the next connection is no tunnel. */
  isMirrored?: boolean
}

interface AccountedExchange extends Exchange {
  account: RequestAccount
}

/** A request for a blob. */
interface Pull extends AccountedExchange {
  wanted: BlobGet
  /** The blob's length as a manifest said before the request came. */
  bytesPlanned: number | undefined
}

/** How long the answer to one request is delayed at most because the registry's limit was reached. */
export const LIMIT_WAIT_MS_MAX = 30_000
/** The shortest delay, so that a registry without a Retry-After to speak of is not asked in a loop. */
const LIMIT_WAIT_MS_MIN = 1_000
/** Waits of one request. */
const LIMIT_WAITS_MAX = 3
/** Layers that wait together do not come back together. */
const LIMIT_SPREAD_MS = 500

/** Answers a request. Never rejects: a failure becomes an answer or a cut connection. */
export async function answer(parts: PullParts, exchange: Exchange): Promise<void> {
  // HTTP takes it from the request when the connection ends with the answer.
  const { socket } = exchange.request
  const account = new RequestAccount(parts, exchange)
  try {
    account.end(await answerRequest(parts, { ...exchange, account }))
    parts.served.add(socket)
  } catch (error) {
    account.failed(error, { isClientGone: exchange.response.destroyed })
    answerFailure(parts, exchange, error)
  }
}

async function answerRequest(parts: PullParts, exchange: AccountedExchange): Promise<RequestOutcome> {
  const wanted = readBlobGet(exchange.request, exchange.registry.apiPath)
  if (wanted === undefined) return passThrough(parts, exchange, 'registry_not_a_blob')
  exchange.account.asks(wanted)
  const { repository, digest } = wanted
  const bytesPlanned = parts.plans.bytesOf(exchange.registry.host, repository, digest)
  return answerBlob(parts, { ...exchange, wanted, bytesPlanned })
}

/** Step 2, what needs no question to the registry, and step 3 (docs/a-pull.md, section 3). */
async function answerBlob(parts: PullParts, pull: Pull): Promise<RequestOutcome> {
  const { registry, wanted, bytesPlanned } = pull
  if (parts.pause.isPaused) return passThrough(parts, pull, 'registry_paused')
  if (bytesPlanned !== undefined && bytesPlanned < parts.limit.p2pMinBytes)
    return passThrough(parts, pull, 'registry_small_blob')

  if (registry.habits.has('redirectRefused')) return passThrough(parts, pull, 'registry_redirect_refused')
  const whyNot = await parts.client.whyNotOpen({ registry: registry.host, ...wanted })
  if (whyNot !== undefined) {
    pull.account.swarmFailed(whyNot)
    return passThrough(parts, pull, 'registry_fallback')
  }
  const verdict = await authorise(parts, pull, { ...wanted, bytesPlanned })
  if (verdict instanceof LateWord) return answerLate(parts, pull, verdict)
  return answerJudged(parts, pull, verdict)
}

/** Steps 4 to 7: the registry gave its word, or the client vouches. */
async function answerJudged(parts: PullParts, pull: Pull, verdict: Verdict): Promise<RequestOutcome> {
  const { response, account, wanted, bytesPlanned } = pull
  if (verdict.refusal !== undefined) return passThrough(parts, pull, verdict.refusal)

  const bytes = verdict.bytes ?? bytesPlanned ?? (await bytesBehindRedirects(parts, pull))
  if (bytes === undefined) return passThrough(parts, pull, 'registry_length_unknown')
  account.size(bytes)
  if (bytes < parts.limit.p2pMinBytes) return passThrough(parts, pull, 'registry_small_blob')

  const span = requestedSpan(pull, bytes)
  if (span.status === 416) return refuseRange(pull, bytes)

  const blob = await openBlob(parts, pull, { bytes, part: span })
  if (blob === undefined) return passThrough(parts, pull, 'registry_fallback')
  // What the registry said about another blob is no news about this one.
  if (verdict.acceptedAtMs !== undefined && !verdict.isByOther)
    parts.client.sawAccepted(blobRequest(pull, bytes), verdict.acceptedAtMs)

  account.reads(blob.sources)
  const sent = await sendBlob(response, blob, { digest: wanted.digest, span, waits: account })
  account.sent(sent.bytes)
  if (blob.fallback !== undefined) account.restFromRegistry(blob.fallback)
  if (sent.error !== undefined) account.swarmFailed(sent.error)
  return sent.isUntouched ? passThrough(parts, pull, 'registry_fallback') : sent.outcome
}

/**
 * Asks where the registry redirects to, because neither HEAD nor a manifest told the length. A length that comes too late
 * for this request is remembered for the next.
 */
async function bytesBehindRedirects(
  { plans }: PullParts,
  { registry, response, wanted }: Pull,
): Promise<number | undefined> {
  const { repository, digest, authorization, query } = wanted
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

function requestedSpan({ request, wanted }: Pull, bytes: number): ByteSpan {
  const ifRange = request.headersDistinct['if-range']?.join(', ')
  return spanOf({ range: request.headers.range, ifRange }, bytes, `"${wanted.digest}"`)
}

/** RFC 9110 §15.5.17. */
function refuseRange({ response }: Exchange, bytes: number): RequestOutcome {
  response.writeHead(416, { 'content-range': `bytes */${bytes}`, 'content-length': 0 })
  response.end()
  return 'range_unsatisfiable'
}

/** @returns undefined if the client cannot help; the reason is logged and counted */
async function openBlob(
  { client }: PullParts,
  pull: Pull,
  { bytes, part: { start, end } }: { bytes: number; part: { start: number; end: number } },
): Promise<OpenBlob | undefined> {
  try {
    return await client.open({ ...blobRequest(pull, bytes), part: { start, end } })
  } catch (error) {
    pull.account.swarmFailed(error)
    return undefined
  }
}

function blobRequest({ registry, wanted }: Pull, bytes: number): BlobRequest {
  const { repository, digest, credential } = wanted
  return { registry: registry.host, repository, digest, bytes, credential }
}

/**
 * No word yet: the client's own request goes to the registry beside the question, and its answer decides as without Shoal. Its
 * copy is shared afterwards. If the word is there first, in time, or the client vouches as nobody answers, the blob is shared now.
 */
async function answerLate(parts: PullParts, pull: Pull, late: LateWord): Promise<RequestOutcome> {
  const { registry, response, wanted } = pull
  const copy = keepCopy(parts.client, { registry: registry.host, wanted, bytesMin: parts.limit.p2pMinBytes })
  response.once('close', () => copy.drop())
  try {
    const watcher = allOf([late.direct, wanted.query === '' ? copy : undefined])
    return await passThrough(parts, pull, 'registry_late', { giveUp: late.shared, watcher })
  } catch (error) {
    if (!late.shared.aborted || response.headersSent) throw error
    return answerJudged(parts, pull, (await late.verdict)!)
  }
}

/** Forwards the request to the registry and the answer to the client, both unchanged. */
async function passThrough<Outcome extends RequestOutcome>(
  parts: PullParts,
  exchange: AccountedExchange & Partial<Pull>,
  outcome: Outcome,
  { giveUp, watcher }: { giveUp?: AbortSignal; watcher?: ResponseWatcher } = {},
): Promise<Outcome> {
  const { plans, pushes, pause } = parts
  const { request, response, registry, account } = exchange
  if (response.destroyed) return outcome
  const upstream = {
    dispatcher: registry.passThrough,
    path: request.url!,
    ...(exchange.isMirrored ? { host: registry.host } : {}),
    ...(giveUp && { giveUp }),
    // A second try of a wrong password brings an account closer to its lock.
    ...(isPassword(request) ? {} : { againInMs: limitWait(registry) }),
    answerHeaders: answerHeaders(exchange),
    unreachable: (cause: Error) => new RegistryUnreachableError(registry.host, { cause }),
  }
  const watchers = allOf([
    watcher,
    account.passes(outcome),
    outcome === 'registry_refused' ? refusalWatch(registry, request) : undefined,
    pause.isPaused ? undefined : plans.watch(request, registry),
    pushes.watch(request, registry),
    acceptanceWatch(parts, exchange),
  ])
  await forward(request, response, upstream, watchers)
  return outcome
}

/** A blob as long as the manifest says, to the client's own request, is the registry's word on this caller (`noteCaller`). */
function acceptanceWatch(
  parts: PullParts,
  { registry, wanted, bytesPlanned }: Exchange & Partial<Pull>,
): ResponseWatcher | undefined {
  if (wanted === undefined || bytesPlanned === undefined) return undefined
  return {
    onStart: (status, headers) => {
      if (status === 200 && Number(headers['content-length']) === bytesPlanned)
        noteCaller(parts, registry, wanted, true)
    },
    onData: () => {},
    onEnd: () => {},
  }
}

/** What the client gets of the registry's headers: all, with what leads elsewhere spelled so that it arrives there. */
function answerHeaders({ request, registry, isMirrored }: Exchange): NonNullable<Upstream['answerHeaders']> {
  const isRespelled = fetchesTokensElsewhere(request.headers['user-agent'])
  const base = `https://${registry.host}${request.url}`
  return (status, raw) => {
    const headers = status === 401 && isRespelled ? withTunnelledRealm(raw, registry.host) : raw
    return isMirrored ? withWholeLocation(headers, base) : headers
  }
}

/**
 * A client that stays below its registry's limit of requests must not exceed it because this node asks as well: then the
 * node waits in the client's place.
 */
function limitWait({ limit }: RegistryClient): NonNullable<Upstream['againInMs']> {
  let leftMs = LIMIT_WAIT_MS_MAX
  let waits = 0
  return (statusCode, headers) => {
    if (statusCode !== 429 || !limit.hasAskedLately || waits === LIMIT_WAITS_MAX) return undefined
    const spreadMs = Math.random() * LIMIT_SPREAD_MS
    const waitMs = Math.max(LIMIT_WAIT_MS_MIN, retryAfterMs(headers['retry-after'], Date.now())) + spreadMs
    if (waitMs > leftMs) return undefined
    leftMs -= waitMs
    waits += 1
    return waitMs
  }
}

function isPassword({ headers }: IncomingMessage): boolean {
  return /^basic /i.test(headers.authorization ?? '')
}

/** The registry refused the question and serves the request: the next question may not rest on HEAD alone. */
function refusalWatch({ habits, apiPath }: RegistryClient, request: IncomingMessage): ResponseWatcher {
  const onStart = (status: number) => {
    if (status === 200 || status === 206)
      habits.forget('headHonest', readBlobGet(request, apiPath)?.repository)
  }
  return { onStart, onData: () => undefined, onEnd: () => undefined }
}

function answerFailure(
  { reach, served, log, defects }: PullParts,
  { response, registry, request, isMirrored }: Exchange,
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
    if (isTunnelledNext && !isMirrored && served.has(request.socket)) response.destroy()
    else respondWithError(response, error)
    return
  }
  // A defect costs only this request: other pulls run in this process.
  defects.note('proxy_request', error, { registry: registry.host })
  response.destroy()
}
