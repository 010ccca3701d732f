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
  /** The whole blob in answer to a part of it is refused instead of read from the start. */
  isWholeRefused?: boolean
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** The Authorization header with which a credential goes to its registry, and nowhere else. */
export function authorizationOf(credential: Credential): string | undefined {
  if (credential.scheme === 'bearer') return `Bearer ${credential.token}`
  return credential.scheme === 'basic' ? `Basic ${credential.value}` : undefined
}

/**
 * Bytes [from, to) of a blob from its registry (OCI distribution-spec, "Pulling blobs"; RFC 9110 §14). One redirect is
 * followed, without the credential. A registry that ignores Range is read from the start and what comes before is
 * skipped. Chunks are valid until the next is asked for.
 * @throws OriginRefusedError when the registry answers anything else, or ends early; RangeIgnoredError where asked for
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
      yield fresh
      if (left === 0) return
    }
  } finally {
    // Destroys the connection when the body has not been read to its end.
    body.destroy()
  }
  throw new OriginRefusedError('the registry ended a blob early')
}

async function openRange(request: RangeRequest): Promise<Dispatcher.ResponseData> {
  const range = `bytes=${request.from}-${request.to - 1}`
  const authorization = authorizationOf(request.credential)
  const direct = await request.registry.dispatcher.request({
    method: 'GET',
    path: `/v2/${request.repository}/blobs/${request.digest}`,
    headers: { range, ...(authorization === undefined ? {} : { authorization }) },
    signal: request.signal,
  })
  const answer = REDIRECTS.has(direct.statusCode) ? await followRedirect(request, direct, range) : direct
  const isPart = answer.statusCode === 206 && startsAt(answer.headers['content-range'], request.from)
  if (answer.statusCode === 200 || isPart) return answer
  // undici tells an unread body of its end by an error event, which nobody hears: it would end the process.
  answer.body.on('error', () => undefined).destroy()
  throw new OriginRefusedError(`the registry answered ${answer.statusCode} to a blob request`)
}

async function followRedirect(
  { registry, repository, digest, signal }: RangeRequest,
  direct: Dispatcher.ResponseData,
  range: string,
): Promise<Dispatcher.ResponseData> {
  await direct.body.dump()
  const location = direct.headers.location
  const base = `https://${registry.host}/v2/${repository}/blobs/${digest}`
  const url =
    typeof location === 'string' && URL.canParse(location, base) ? new URL(location, base) : undefined
  if (!url || !isRedirectPermitted(url, registry.config)) {
    throw new OriginRefusedError('the registry redirects a blob to where it may not')
  }
  return registry.redirectDispatcher.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: 'GET',
    headers: { range },
    signal,
  })
}

function startsAt(contentRange: string | string[] | undefined, from: number): boolean {
  return typeof contentRange === 'string' && contentRange.startsWith(`bytes ${from}-`)
}
