import type { Dispatcher } from 'undici'
import type { Digest } from '../../core/digest.ts'
import { isRedirectPermitted } from '../../core/redirect-rule.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { OriginRefusedError, RangeIgnoredError } from '../errors.ts'

export interface RangeRequest {
  registry: RegistryClient
  repository: Repository
  digest: Digest
  credential: Credential
  /** Bytes [from, to) of the blob. */
  from: number
  to: number
  signal: AbortSignal
  /** Refuse a whole blob in answer to a range, instead of reading it from the start. */
  isWholeRefused?: boolean
  /**
   * Target of the registry's last redirect for this blob. Used again while it serves, also after the token has
   * expired.
   */
  redirect?: LastRedirect
}

/** Remembered per blob. Signed URLs of object stores last for minutes; a URL that stops serving is forgotten. */
export interface LastRedirect {
  url: URL | undefined
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** The Authorization header for the registry itself; no other host gets it. */
function authorizationOf(credential: Credential): string | undefined {
  if (credential.scheme === 'bearer') return `Bearer ${credential.token}`
  return credential.scheme === 'basic' ? `Basic ${credential.value}` : undefined
}

/**
 * Bytes [from, to) of a blob from its registry (OCI distribution-spec, "Pulling blobs"; RFC 9110 §14). Follows one
 * redirect, without the credential. If the registry ignores Range, the blob is read from the start and the bytes
 * before `from` are skipped. A chunk is valid until the next is requested.
 * @throws OriginRefusedError when the registry answers anything else, or ends early; RangeIgnoredError where asked
 * for
 */
export async function* readRange(request: RangeRequest): AsyncGenerator<Buffer> {
  const { statusCode, body } = await openRange(request)
  if (statusCode === 200 && request.isWholeRefused) {
    body.on('error', () => undefined).destroy()
    throw new RangeIgnoredError('the registry ignores Range')
  }
  let skip = statusCode === 200 ? request.from : 0
  let left = request.to - request.from
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      const fresh = skip >= chunk.length ? undefined : chunk.subarray(skip, skip + left)
      skip = Math.max(0, skip - chunk.length)
      if (!fresh) continue
      left -= fresh.length
      if (fresh.length > 0) yield fresh
      // A range was read to its end, so its connection can serve the next request.
      if (left === 0 && statusCode === 200) return
    }
    if (left === 0) return
  } finally {
    // Destroys the connection when the body has not been read to its end.
    body.destroy()
  }
  throw new OriginRefusedError('the registry ended a blob early')
}

async function openRange(request: RangeRequest): Promise<Dispatcher.ResponseData> {
  const answer = (await askLastRedirect(request)) ?? (await askRegistry(request))
  if (isAnswer(answer, request)) return answer
  dropBody(answer)
  const { leftMs } = request.registry.limit
  throw new OriginRefusedError(`the registry answered ${answer.statusCode} to a blob request`, {
    retryInMs: leftMs > 0 ? leftMs : undefined,
  })
}

async function askLastRedirect(request: RangeRequest): Promise<Dispatcher.ResponseData | undefined> {
  const { redirect, registry } = request
  if (!redirect?.url || !isRedirectPermitted(redirect.url, registry.config)) return undefined
  const answer = await getFrom(redirect.url, request)
  if (isAnswer(answer, request)) return answer
  redirect.url = undefined
  dropBody(answer)
  return undefined
}

async function askRegistry(request: RangeRequest): Promise<Dispatcher.ResponseData> {
  const { limit } = request.registry
  if (limit.leftMs > 0)
    throw new OriginRefusedError('the registry told this node to wait', { retryInMs: limit.leftMs })
  const authorization = authorizationOf(request.credential)
  const direct = await request.registry.dispatcher.request({
    method: 'GET',
    path: `/v2/${request.repository}/blobs/${request.digest}`,
    headers: { range: rangeOf(request), ...(authorization === undefined ? {} : { authorization }) },
    signal: request.signal,
  })
  limit.note(direct)
  return REDIRECTS.has(direct.statusCode) ? followRedirect(request, direct) : direct
}

const rangeOf = ({ from, to }: RangeRequest) => `bytes=${from}-${to - 1}`

function isAnswer({ statusCode, headers }: Dispatcher.ResponseData, { from }: RangeRequest): boolean {
  return statusCode === 200 || (statusCode === 206 && startsAt(headers['content-range'], from))
}

/** undici reports the end of an unread body by an error event; without a listener that is a defect. */
function dropBody({ body }: Dispatcher.ResponseData): void {
  body.on('error', () => undefined).destroy()
}

async function followRedirect(
  request: RangeRequest,
  direct: Dispatcher.ResponseData,
): Promise<Dispatcher.ResponseData> {
  const { registry, repository, digest } = request
  await direct.body.dump()
  const location = direct.headers.location
  const base = `https://${registry.host}/v2/${repository}/blobs/${digest}`
  const url =
    typeof location === 'string' && URL.canParse(location, base) ? new URL(location, base) : undefined
  if (!url || !isRedirectPermitted(url, registry.config)) {
    throw new OriginRefusedError('the registry redirects a blob to where it may not')
  }
  const answer = await getFrom(url, request)
  if (request.redirect && isAnswer(answer, request)) request.redirect.url = url
  return answer
}

/** Without the credential: the signed URL grants access. */
function getFrom(url: URL, request: RangeRequest): Promise<Dispatcher.ResponseData> {
  return request.registry.redirectDispatcher.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: 'GET',
    headers: { range: rangeOf(request) },
    signal: request.signal,
  })
}

function startsAt(contentRange: string | string[] | undefined, from: number): boolean {
  return typeof contentRange === 'string' && contentRange.startsWith(`bytes ${from}-`)
}
