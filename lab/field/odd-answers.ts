import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { hostOf, type Manner, mannerFor, type OddRegistry } from './manners.ts'
import { sendBody, sendByHand, spanOf } from './odd-bodies.ts'
import { OddContent } from './odd-content.ts'
import { sha256 } from './odd-image.ts'
import { AddressLimits } from './odd-limits.ts'
import type { OddRegistryOptions } from './odd-registry.ts'
import type { OddRequest } from './odd-request.ts'
import { OddTokens } from './odd-tokens.ts'

const MANIFEST = /^\/v2\/(.+)\/manifests\/([^/]+)$/
const BLOB = /^\/v2\/(.+)\/blobs\/([^/]+)$/
const SIGNED = /^\/signed\/([^/]+)$/
/** Subject of the certificate that the lab gives its clients. */
export const CLIENT_NAME = 'field-client'

/** What was asked for. */
interface Target {
  kind: 'manifest' | 'layer' | 'config' | 'other'
  repository?: string
  digest?: string
  mediaType?: string
  bytes?: Buffer
  /** Needs no credential. */
  isOpen?: boolean
}

export class OddAnswers {
  readonly #registries: Map<string, OddRegistry>
  readonly #content: OddContent
  readonly #tokens = new OddTokens()
  readonly #limits = new AddressLimits()

  constructor({ registries, images }: OddRegistryOptions) {
    this.#registries = new Map(registries.map((registry) => [registry.name, registry]))
    this.#content = new OddContent(images)
  }

  async answer(asked: OddRequest): Promise<void> {
    const { request, response } = asked
    const name = (request.headers.host ?? '').toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '')
    const registry = this.#registries.get(name)
    if (registry === undefined) return refuse(asked, 421, 'UNKNOWN_HOST')
    if (registry.trust === 'client-certificate' && !isKnownClient(request)) {
      return refuse(asked, 400, 'NO_CERTIFICATE')
    }
    const limited = this.#limits.admit(registry, request, response)
    if (limited !== undefined) return refuse(asked, limited.status, limited.code, limited.headers)
    const url = new URL(request.url ?? '/', 'https://registry.invalid')
    if (url.pathname === '/token') return this.#answerToken(asked, registry, url)
    if (!url.pathname.startsWith(registry.prefix ?? '')) return refuse(asked, 404, 'NOT_FOUND')
    const target = this.#target(decodeURI(url.pathname.slice(registry.prefix?.length ?? 0)))
    if (target.kind === 'layer') asked.digest = target.digest
    const isRanged = request.headers.range !== undefined
    const what = { method: request.method ?? 'GET', kind: target.kind, isRanged }
    await this.#answerAs(asked, registry, target, mannerFor(registry.manners ?? [], what))
  }

  async #answerAs(asked: OddRequest, registry: OddRegistry, target: Target, manner: Manner): Promise<void> {
    const { request, response } = asked
    if (manner.waitMs) await delay(manner.waitMs)
    if (response.destroyed) return
    if (target.isOpen) return sendContent(asked, target, manner)
    const { authentication } = registry
    const verdict = authentication && this.#tokens.judge(authentication, request.headers, target.repository)
    if (verdict === 'forbidden') return refuse(asked, 403, 'DENIED')
    if (authentication && verdict === 'unauthorized') {
      const challenges = this.#tokens.challenges(authentication, hostOf(registry), target.repository)
      return refuse(asked, 401, 'UNAUTHORIZED', { 'www-authenticate': challenges })
    }
    if (manner.status !== undefined) return refuse(asked, manner.status, 'UNSUPPORTED')
    if (manner.hasEarlyHints) {
      await new Promise<void>((done) => response.writeEarlyHints({ link: '</x>; rel=preload' }, done))
    }
    if (manner.redirect) return redirect(asked, target, manner.redirect)
    return sendContent(asked, target, manner)
  }

  #answerToken(asked: OddRequest, registry: OddRegistry, url: URL): void {
    const { authentication } = registry
    const answer =
      authentication && this.#tokens.issue(authentication, hostOf(registry), url, asked.request.headers)
    if (answer === undefined) refuse(asked, 401, 'UNAUTHORIZED')
    else sendJson(asked, 200, answer)
  }

  #target(path: string): Target {
    const [, repository, reference = ''] = MANIFEST.exec(path) ?? []
    if (repository !== undefined) {
      const found = this.#content.manifest(repository, reference)
      return { kind: 'manifest', repository, ...found, ...(found && { digest: sha256(found.bytes) }) }
    }
    const [, blobRepository, digest = ''] = BLOB.exec(path) ?? []
    const signed = SIGNED.exec(path)?.[1]
    const found = this.#content.blob(signed ?? digest)
    if (blobRepository !== undefined || signed !== undefined) {
      return {
        kind: found === undefined ? 'other' : found.isLayer ? 'layer' : 'config',
        ...(blobRepository === undefined ? { isOpen: true } : { repository: blobRepository }),
        ...(found && { bytes: found.bytes, digest: signed ?? digest }),
        mediaType: 'application/octet-stream',
      }
    }
    return this.#page(path)
  }

  /** The rest of the API, as far as Docker's commands ask for it. */
  #page(path: string): Target {
    const json = (value: object): Target => ({
      kind: 'other',
      mediaType: 'application/json',
      bytes: Buffer.from(JSON.stringify(value)),
    })
    if (path === '/v2/' || path === '/v2') return json({})
    if (path === '/v1/_ping') return { ...json({}), isOpen: true }
    const listed = /^\/v2\/(.+)\/tags\/list$/.exec(path)?.[1]
    if (listed !== undefined) return { ...json({ name: listed, tags: ['round1'] }), repository: listed }
    if (path !== '/v1/search') return { kind: 'other' }
    const results = [{ name: 'team/app', description: '', star_count: 1 }]
    return { ...json({ num_results: 1, query: 'app', results }), isOpen: true }
  }
}

function isKnownClient({ socket }: IncomingMessage): boolean {
  const tls = socket as TLSSocket
  return tls.authorized && tls.getPeerCertificate().subject?.CN === CLIENT_NAME
}

function redirect(asked: OddRequest, target: Target, to: NonNullable<Manner['redirect']>): void {
  const signature = 'x'.repeat(to.signatureBytes ?? 32)
  const path = to.path === 'same' ? asked.request.url : `/signed/${target.digest}?signature=${signature}`
  asked.response.writeHead(to.status, { location: `${to.origin}${path}`, 'content-length': 0 }).end()
}

async function sendContent(asked: OddRequest, target: Target, manner: Manner): Promise<void> {
  const { request } = asked
  const { bytes, digest, mediaType = 'application/json' } = target
  if (bytes === undefined) return refuse(asked, 404, 'NOT_FOUND')
  const type = manner.mediaType ?? mediaType
  if (manner.spelling !== undefined)
    return sendByHand(asked, { bytes, digest, type, spelling: manner.spelling })
  const isGzipped = manner.isGzipped === true && /gzip/.test(String(request.headers['accept-encoding'] ?? ''))
  const body = isGzipped ? gzipSync(bytes) : bytes
  const span = spanOf(request.headers.range, body.length, manner.range)
  if (span === undefined)
    return refuse(asked, 416, 'RANGE_INVALID', { 'content-range': `bytes */${body.length}` })
  const { from, to, isPart } = span
  const headers: OutgoingHttpHeaders = {
    'content-type': type,
    ...(digest === undefined ? {} : { 'docker-content-digest': digest, 'accept-ranges': 'bytes' }),
    ...(isGzipped ? { 'content-encoding': 'gzip', vary: 'accept-encoding' } : {}),
    ...(isPart ? { 'content-range': `bytes ${from}-${to - 1}/${body.length}` } : {}),
    ...lengthHeader(request.method === 'HEAD' ? manner.length : undefined, to - from),
    ...manner.headers,
  }
  asked.response.writeHead(isPart ? 206 : 200, headers)
  if (request.method === 'HEAD') return void asked.response.end()
  await sendBody(asked, body.subarray(from, to), manner.pace)
}

function lengthHeader(length: Manner['length'], bytes: number): OutgoingHttpHeaders {
  if (length === 'none') return {}
  if (length === undefined) return { 'content-length': bytes }
  return { 'content-length': length === 'zero' ? 0 : Math.floor(bytes / 2) }
}

/** Errors as registries write them (OCI distribution-spec, "Error Codes"). */
function refuse(asked: OddRequest, status: number, code: string, headers: OutgoingHttpHeaders = {}): void {
  sendJson(asked, status, { errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] }, headers)
}

function sendJson({ request, response }: OddRequest, status: number, value: object, headers = {}): void {
  const body = JSON.stringify(value)
  const length = { 'content-length': Buffer.byteLength(body) }
  response.writeHead(status, { 'content-type': 'application/json', ...length, ...headers })
  response.end(request.method === 'HEAD' ? undefined : body)
}
