import type { Dispatcher } from 'undici'
import { type BlobHeadRequest, blobPath, lengthIn, REDIRECTS, totalBytes } from './blob-question.ts'
import { isRedirectPermitted, RedirectRefusedError } from './redirect-rule.ts'
import type { RegistryClient } from './registry-client.ts'

/** A blob's bytes from its registry, or from where the registry redirects to, as Docker's own client would get them. */

/** Redirects that are followed for one answer; Go follows as many. */
export const BLOB_REDIRECTS_MAX = 10

export interface BlobGetRequest
  extends Pick<BlobHeadRequest, 'repository' | 'digest' | 'authorization' | 'query'> {
  registry: RegistryClient
  /** The value of the Range header; undefined asks for the whole blob. */
  range: string | undefined
  signal: AbortSignal
}

export interface BlobAnswer {
  answer: Dispatcher.ResponseData
  /** Where the answer came from, if it was another host, which saw no credential. */
  redirectedTo: URL | undefined
}

/**
 * The credential goes to the registry's own origin only, and no more after another host was in between.
 * @throws RedirectRefusedError if a redirect may not be followed; what undici throws
 */
export async function getBlob(request: BlobGetRequest): Promise<BlobAnswer> {
  const { registry } = request
  const own = new URL(`https://${registry.host}${blobPath(request, registry.apiPath)}`)
  let url = own
  let hasLeft = false
  for (let hop = 0; hop <= BLOB_REDIRECTS_MAX; hop += 1) {
    hasLeft ||= url.origin !== own.origin
    const answer = hasLeft ? await getFrom(url, request) : await getFromRegistry(url, request)
    if (!REDIRECTS.has(answer.statusCode)) return { answer, redirectedTo: hasLeft ? url : undefined }
    await answer.body.dump()
    url = nextUrl(answer.headers.location, url, own, registry)
  }
  registry.habits.note('redirectRefused')
  throw new RedirectRefusedError(`${registry.host} redirects a blob too often`)
}

function getFromRegistry(
  url: URL,
  { registry, authorization, range, signal }: BlobGetRequest,
): Promise<Dispatcher.ResponseData> {
  const headers = {
    ...(range !== undefined && { range }),
    ...(authorization !== undefined && { authorization }),
  }
  return registry.dispatcher.request({ method: 'GET', path: url.pathname + url.search, headers, signal })
}

/**
 * Without a credential: a signed URL grants access by itself.
 * @throws RedirectRefusedError if the name has a forbidden address
 */
export async function getFrom(
  url: URL,
  { registry, range, signal }: Pick<BlobGetRequest, 'registry' | 'range' | 'signal'>,
): Promise<Dispatcher.ResponseData> {
  try {
    return await registry.redirectDispatcher.request({
      origin: url.origin,
      path: url.pathname + url.search,
      method: 'GET',
      headers: range === undefined ? {} : { range },
      signal,
    })
  } catch (error) {
    if (error instanceof RedirectRefusedError) registry.habits.note('redirectRefused')
    throw error
  }
}

function nextUrl(
  location: string | string[] | undefined,
  from: URL,
  own: URL,
  { habits, config }: RegistryClient,
): URL {
  const url =
    typeof location === 'string' && URL.canParse(location, from.href) ? new URL(location, from) : undefined
  const isOwn = url?.origin === own.origin && url.username === '' && url.password === ''
  if (url !== undefined && (isOwn || isRedirectPermitted(url, config))) return url
  habits.note('redirectRefused')
  throw new RedirectRefusedError('the registry redirects a blob to where it may not')
}

/** The length of a blob that the registry redirects: HEAD does not tell it. Undefined if no answer tells it. */
export async function lengthBehindRedirects(
  request: Omit<BlobGetRequest, 'range'>,
): Promise<number | undefined> {
  const { answer } = await getBlob({ ...request, range: 'bytes=0-0' })
  if (answer.statusCode === 206) await answer.body.dump()
  else answer.body.on('error', () => undefined).destroy()
  if (answer.statusCode === 206) return totalBytes(answer.headers)
  return answer.statusCode === 200 ? lengthIn(answer.headers['content-length']) : undefined
}
