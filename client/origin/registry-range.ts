import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { getBlob, getFrom } from '../../core/blob-get.ts'
import { RANGE_REFUSALS } from '../../core/blob-question.ts'
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

/** The Authorization header for the registry itself; no other host gets it. */
export function authorizationOf(credential: Credential): string | undefined {
  if (credential.scheme === 'bearer') return `Bearer ${credential.token}`
  return credential.scheme === 'basic' ? `Basic ${credential.value}` : undefined
}

/** Bytes that an answer must bring before the next one continues it: a bound of the requests for one range. */
export const CONTINUATION_BYTES_MIN = 16 * 1024

/**
 * Bytes [from, to) of a blob from its registry (OCI distribution-spec, "Pulling blobs"; RFC 9110 §14). Follows redirects. If
 * the registry ignores or refuses Range, the blob is read from the start and the bytes before `from` are skipped. If it
 * answers with a part of the range, the next request goes on where the answer ended. What arrived together comes together.
 * @throws OriginRefusedError when the registry answers anything else, or ends early; RangeIgnoredError where asked
 * for; RedirectRefusedError
 */
export async function* readRange(request: RangeRequest): AsyncGenerator<Buffer[]> {
  for (let at = request.from; at < request.to; ) {
    const from = at
    for await (const chunks of readAnswer({ ...request, from })) {
      for (const { length } of chunks) at += length
      yield chunks
    }
    if (at >= request.to || at - from >= CONTINUATION_BYTES_MIN) continue
    if (request.isWholeRefused) throw new RangeIgnoredError('the registry serves hardly anything of a range')
    throw new OriginRefusedError('the registry ended a blob early')
  }
}

/** Bytes of an answer that wait for their reader before the connection does. */
const WAITING_BYTES_MAX = 256 * 1024

/** What has arrived, again and again. A stream's own iterator costs an event and a copy for each 64 KiB. */
async function* chunksOf(body: Readable): AsyncGenerator<Buffer[]> {
  let waiting: Buffer[] = []
  let waitingBytes = 0
  let wake = () => {}
  let isEnded = false
  let failure: Error | undefined
  body.on('data', (chunk: Buffer) => {
    waiting.push(chunk)
    waitingBytes += chunk.length
    if (waitingBytes >= WAITING_BYTES_MAX) body.pause()
    wake()
  })
  body.on('error', (error) => {
    failure = error
  })
  body.once('end', () => {
    isEnded = true
    wake()
  })
  body.once('close', () => {
    failure ??= isEnded ? undefined : new Error('the body ended early')
    isEnded = true
    wake()
  })
  while (waiting.length > 0 || !isEnded) {
    if (waiting.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      continue
    }
    const chunks = waiting
    waiting = []
    waitingBytes = 0
    body.resume()
    yield chunks
  }
  if (failure !== undefined) throw failure
}

/** One answer: what it has of the range, from its first byte on. */
async function* readAnswer(request: RangeRequest): AsyncGenerator<Buffer[]> {
  const { statusCode, body } = await openRange(request)
  let skip = statusCode === 200 ? request.from : 0
  let left = request.to - request.from
  const fresh = (chunk: Buffer): Buffer[] => {
    const part = chunk.subarray(skip, skip + left)
    skip = Math.max(0, skip - chunk.length)
    left -= part.length
    return part.length > 0 ? [part] : []
  }
  try {
    for await (const chunks of chunksOf(body)) {
      const parts = chunks.flatMap(fresh)
      if (parts.length > 0) yield parts
      // A range was read to its end, so its connection can serve the next request.
      if (left === 0 && statusCode === 200) return
    }
    if (left > 0 && statusCode === 200) throw new OriginRefusedError('the registry ended a blob early')
  } finally {
    // Destroys the connection when the body has not been read to its end.
    body.destroy()
  }
}

/** An answer with the range, or with the whole blob where that may be. */
async function openRange(request: RangeRequest): Promise<Dispatcher.ResponseData> {
  const { habits } = request.registry
  const isPart = request.isWholeRefused === true
  if (isPart && habits.has('noRanges')) throw new RangeIgnoredError('the registry serves no ranges')
  const answer = (await askLastRedirect(request)) ?? (await askRegistry(request, rangeOf(request)))
  const { statusCode } = answer
  const isRefused = RANGE_REFUSALS.has(statusCode)
  if (!isAnswer(answer, request) && !isRefused) throw refused(answer, request)
  if (statusCode === 206 || (statusCode === 200 && !isPart)) return answer
  dropBody(answer)
  // A 416 may also mean that the blob is shorter than the caller says.
  if (statusCode !== 416 || request.from === 0) habits.note('noRanges')
  if (isPart) throw new RangeIgnoredError('the registry ignores Range')
  const whole = await askRegistry(request, undefined)
  if (whole.statusCode !== 200) throw refused(whole, request)
  return whole
}

function refused(
  answer: Dispatcher.ResponseData,
  { registry, credential }: RangeRequest,
): OriginRefusedError {
  dropBody(answer)
  const leftMs = registry.limit.leftMs(authorizationOf(credential))
  return new OriginRefusedError(`the registry answered ${answer.statusCode} to a blob request`, {
    status: answer.statusCode,
    retryInMs: leftMs > 0 ? leftMs : undefined,
  })
}

async function askLastRedirect(request: RangeRequest): Promise<Dispatcher.ResponseData | undefined> {
  const { redirect, registry, signal } = request
  if (!redirect?.url || !isRedirectPermitted(redirect.url, registry.config)) return undefined
  const answer = await getFrom(redirect.url, { registry, range: rangeOf(request), signal })
  if (isAnswer(answer, request)) return answer
  redirect.url = undefined
  dropBody(answer)
  return undefined
}

async function askRegistry(
  request: RangeRequest,
  range: string | undefined,
): Promise<Dispatcher.ResponseData> {
  const authorization = authorizationOf(request.credential)
  const leftMs = request.registry.limit.leftMs(authorization)
  if (leftMs > 0) throw new OriginRefusedError('the registry told this node to wait', { retryInMs: leftMs })
  const { answer, redirectedTo } = await getBlob({ ...request, authorization, range })
  if (request.redirect && isAnswer(answer, request)) request.redirect.url = redirectedTo
  return answer
}

const rangeOf = ({ from, to }: RangeRequest) => `bytes=${from}-${to - 1}`

function isAnswer({ statusCode, headers }: Dispatcher.ResponseData, { from }: RangeRequest): boolean {
  return statusCode === 200 || (statusCode === 206 && startsAt(headers['content-range'], from))
}

/** undici reports the end of an unread body by an error event; without a listener that is a defect. */
function dropBody({ body }: Dispatcher.ResponseData): void {
  body.on('error', () => undefined).destroy()
}

function startsAt(contentRange: string | string[] | undefined, from: number): boolean {
  return typeof contentRange === 'string' && contentRange.startsWith(`bytes ${from}-`)
}
