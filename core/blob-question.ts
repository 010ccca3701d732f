import type { Dispatcher } from 'undici'
import type { Digest } from './digest.ts'
import { isSettledWithin } from './patience.ts'
import type { RegistryHabits } from './registry-habits.ts'
import { type Repository, repositoryPath } from './repository.ts'

/**
 * Asks a registry whether it would serve a blob to the sender of a credential. HEAD is the question that the specification
 * names. Some registries refuse it, answer it with another length, or answer it late, and serve the blob all the same: they
 * are asked with a GET of one byte. Either answer shows that the registry would serve this very request.
 */

/**
 * A registry's answer to a question about a blob. A redirect counts as present with unknown length. It shows that this
 * caller may have the blob only if the registry refuses strangers (`Strangers`).
 */
export type BlobHead =
  /** `byGet`: a GET said so. Others must then be asked by GET as well: HEAD may be refused to everybody. */
  | { isPresent: true; bytes: number | undefined; isRedirect: boolean; byGet?: true }
  | { isPresent: false; status: number }

export interface BlobHeadRequest {
  repository: Repository
  digest: Digest
  /** The value of the Authorization header, sent to this registry and nowhere else. */
  authorization: string | undefined
  /** The query of the caller's own request, with its `?`; default none. */
  query?: string
  /**
   * Ask once, by this method: the first answer counts, also a "no". For answers that are compared, which must be to the
   * same method, and for probes, where a second try would be a second chance. Default: by HEAD, and by GET where HEAD is
   * late, says no, or is known to be unreliable.
   */
  onceBy?: QuestionMethod
  /** The length as a manifest or the caller says. If HEAD tells another, GET decides. */
  bytesExpected?: number | undefined
  signal?: AbortSignal
}

/** How a registry is asked about a blob: a GET is one of one byte. */
export type QuestionMethod = 'HEAD' | 'GET'

/** A HEAD without an answer for this long is joined by a GET of one byte, but not at a registry that is late as a whole. */
export const HEDGE_MS = 250
export const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** The method or the path is refused, and not the caller. */
const METHOD_REFUSALS = new Set([400, 405, 501])
/** The caller is refused (RFC 9110 §15.5). */
const REFUSALS = new Set([401, 403])
/** The registry is busy: another request would add to that (RFC 6585 §4). */
const TOO_MANY_REQUESTS = 429
/** Refusals of a Range by registries that serve the blob without it. */
export const RANGE_REFUSALS: ReadonlySet<number> = new Set([400, 416, 501])

export interface QuestionParts {
  dispatcher: Dispatcher
  habits: RegistryHabits
  /** Of the registry (repository.ts). */
  apiPath: string
}

/** @throws what undici throws, if no answer came */
export async function askBlob(
  parts: QuestionParts,
  request: BlobHeadRequest,
  signal: AbortSignal,
): Promise<BlobHead> {
  const { habits } = parts
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  try {
    if ((request.onceBy ?? methodFor(habits, request.repository)) === 'GET')
      return await askByGet(parts, request, either)
    const asked = askByHead(parts, request, either)
    if (request.onceBy) return await asked
    if (!habits.has('late') && !(await isSettledWithin(asked, HEDGE_MS)))
      return await raced(parts, request, asked, either)
    return await confirmed(parts, request, await asked, either)
  } finally {
    // Of two requests under way, the other one's answer is of no use any more.
    over.abort(new Error('answered otherwise'))
  }
}

/** By which method a question about a blob begins. */
export function methodFor(habits: RegistryHabits, repository: Repository): QuestionMethod {
  return habits.has('headUnreliable', repository) ? 'GET' : 'HEAD'
}

/** The first answer that says yes; else HEAD's, checked. */
async function raced(
  parts: QuestionParts,
  request: BlobHeadRequest,
  asked: Promise<BlobHead>,
  signal: AbortSignal,
): Promise<BlobHead> {
  const byGet = askByGet(parts, request, signal)
  const yes = (question: Promise<BlobHead>) =>
    question.then((head) => (head.isPresent ? head : Promise.reject(new Error(`${head.status}`))))
  const byHead = asked.then((head) => confirmed(parts, request, head, signal))
  try {
    const first = await Promise.any([yes(byHead).then(() => 'HEAD'), yes(byGet).then(() => 'GET')])
    if (first === 'GET') parts.habits.note('headUnreliable', request.repository)
    return await (first === 'GET' ? byGet : byHead)
  } catch {
    return await byHead
  }
}

/** HEAD's answer, unless it says no or another length and GET says better. */
async function confirmed(
  parts: QuestionParts,
  request: BlobHeadRequest,
  head: BlobHead,
  signal: AbortSignal,
): Promise<BlobHead> {
  const { habits } = parts
  if (!isDoubtful(head, request) || habits.has('headHonest', request.repository)) return head
  const other = await askByGet(parts, request, signal).catch(() => undefined)
  if (other === undefined) return head
  // A server that is down for a moment says nothing about HEAD.
  const isFlap = !head.isPresent && head.status >= 500 && !METHOD_REFUSALS.has(head.status)
  const isBetter =
    other.isPresent &&
    // A redirect tells no length, so it confirms none that HEAD denies.
    (!head.isPresent || (!other.isRedirect && other.bytes === request.bytesExpected))
  if (isBetter && !isFlap) habits.note('headUnreliable', request.repository)
  if (isBetter || isFlap) return other
  if (!head.isPresent && METHOD_REFUSALS.has(head.status)) return other
  // Remembered, so that refusals do not cost two requests each.
  habits.note('headHonest', request.repository)
  return head
}

function isDoubtful(head: BlobHead, { authorization, bytesExpected }: BlobHeadRequest): boolean {
  // A second try of a wrong password brings an account closer to its lock.
  const isPassword = authorization !== undefined && /^basic /i.test(authorization)
  if (!head.isPresent && isPassword && REFUSALS.has(head.status)) return false
  if (!head.isPresent) return head.status !== TOO_MANY_REQUESTS
  // No length is no other length: HTTP/1.0 tells none, and a GET would cost the whole blob there.
  return head.bytes !== undefined && bytesExpected !== undefined && head.bytes !== bytesExpected
}

async function askByHead(
  { dispatcher, apiPath }: QuestionParts,
  request: BlobHeadRequest,
  signal: AbortSignal,
): Promise<BlobHead> {
  const answer = await dispatcher.request({
    method: 'HEAD',
    // By default undici closes the connection after a HEAD, which would cost a TLS handshake per blob.
    reset: false,
    path: blobPath(request, apiPath),
    headers: authorizationOf(request),
    signal,
  })
  await answer.body.dump()
  return blobHeadFrom(answer)
}

/** A registry that refuses the range is asked without it, and the body is not read. */
async function askByGet(
  parts: QuestionParts,
  request: BlobHeadRequest,
  signal: AbortSignal,
): Promise<BlobHead> {
  const isWhole = parts.habits.has('noRanges')
  const answer = await get(parts, request, isWhole ? {} : { range: 'bytes=0-0' }, signal)
  if (isWhole || !RANGE_REFUSALS.has(answer.statusCode)) return told(answer)
  const whole = told(await get(parts, request, {}, signal))
  // An empty blob has no first byte.
  if (whole.isPresent && whole.bytes !== 0) parts.habits.note('noRanges')
  return whole
}

/** What an answer to a GET says. */
function told(answer: Dispatcher.ResponseData): BlobHead {
  const head = blobHeadFrom(answer)
  return head.isPresent ? { ...head, byGet: true } : head
}

async function get(
  { dispatcher, apiPath }: QuestionParts,
  request: BlobHeadRequest,
  range: { range?: string },
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const answer = await dispatcher.request({
    method: 'GET',
    path: blobPath(request, apiPath),
    headers: { ...authorizationOf(request), ...range },
    signal,
  })
  const isShort = answer.statusCode === 206 || REDIRECTS.has(answer.statusCode)
  if (isShort) await answer.body.dump()
  else answer.body.on('error', () => undefined).destroy()
  return answer
}

export function blobPath(
  { repository, digest, query = '' }: Pick<BlobHeadRequest, 'repository' | 'digest' | 'query'>,
  apiPath: string | undefined,
): string {
  return `${repositoryPath(repository, apiPath)}/blobs/${digest}${query}`
}

function authorizationOf({ authorization }: BlobHeadRequest): { authorization?: string } {
  return authorization === undefined ? {} : { authorization }
}

/** 200 with Content-Length, else absent (OCI distribution-spec, "Checking if content exists in the registry"). */
function blobHeadFrom({
  statusCode,
  headers,
}: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>): BlobHead {
  if (REDIRECTS.has(statusCode)) return { isPresent: true, bytes: undefined, isRedirect: true }
  if (statusCode === 206) return { isPresent: true, bytes: totalBytes(headers), isRedirect: false }
  if (statusCode !== 200) return { isPresent: false, status: statusCode }
  return { isPresent: true, bytes: lengthIn(headers['content-length']), isRedirect: false }
}

/** The length of the whole blob, from the answer to a range (RFC 9110 §14.4). */
export function totalBytes(headers: Dispatcher.ResponseData['headers']): number | undefined {
  const range = headers['content-range']
  return lengthIn(typeof range === 'string' ? /^bytes \d+-\d+\/(\d+)$/.exec(range)?.[1] : undefined)
}

export function lengthIn(text: string | string[] | undefined): number | undefined {
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
