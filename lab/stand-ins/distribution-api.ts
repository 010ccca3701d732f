import { createHash, createPublicKey, type KeyObject, randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream, mkdirSync, statSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { jwtVerify } from 'jose'
import { type Digest, digestFromHex, digestHex, isDigest } from '../../core/digest.ts'

/**
 * A registry's API (OCI distribution-spec 1.1, end-1 to end-10 without deletion), over files in a folder. Every request
 * needs a signed token that names repository and action (Distribution's "Token Authentication Implementation").
 */

export interface DistributionOptions {
  /** Exists; blobs are kept in it, and nothing else uses it. */
  dir: string
  /** URL of the token server. */
  realm: string
  /** The tokens' audience. */
  service: string
  issuer: string
  /** Of the key that signs tokens. */
  certificatePem: string
}

type Action = 'pull' | 'push'

interface Repository {
  blobs: Set<Digest>
  mediaTypes: Map<Digest, string>
  tags: Map<string, Digest>
}

/** One request, and what is known of it. */
interface Asked {
  request: IncomingMessage
  response: ServerResponse
  method: string
  url: URL
  repository: string
}

/** distribution-spec, "Pulling manifests" and "Content Discovery". */
const PATH =
  /^\/v2\/([a-z0-9]+(?:[._\-/][a-z0-9]+)*)\/(manifests|blobs\/uploads|blobs|tags)\/([A-Za-z0-9_:.-]*)$/
const REPOSITORIES_MAX = 16
const UPLOADS_MAX = 64
/** distribution-spec, "Pushing Manifests": registries should allow at least this. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024

export class DistributionApi {
  readonly #options: DistributionOptions
  readonly #key: KeyObject
  readonly #repositories = new Map<string, Repository>()
  /** Bytes so far, by the upload's id. */
  readonly #uploads = new Map<string, number>()

  constructor(options: DistributionOptions) {
    this.#options = options
    this.#key = createPublicKey(options.certificatePem)
    mkdirSync(options.dir, { recursive: true, mode: 0o700 })
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET' } = request
    const url = new URL(request.url ?? '/', 'https://registry.invalid')
    const action = method === 'GET' || method === 'HEAD' ? 'pull' : 'push'
    const [, repository = '', kind, reference = ''] = PATH.exec(url.pathname) ?? []
    const isRoot = url.pathname === '/v2/' || url.pathname === '/v2'
    if (!isRoot && kind === undefined) return refuse(response, 404, 'NOT_FOUND')
    const asked: Asked = { request, response, method, url, repository }
    if (!(await this.#isAllowed(asked, action))) return this.#challenge(asked, action)
    if (isRoot) return sendJson(response, 200, {})
    if (kind === 'tags') return this.#listTags(asked)
    if (kind === 'blobs/uploads') return this.#upload(asked, reference)
    if (kind === 'manifests' && action === 'push') return this.#putManifest(asked, reference)
    if (action === 'push') return refuse(response, 405, 'UNSUPPORTED')
    return kind === 'manifests' ? this.#sendManifest(asked, reference) : this.#sendBlob(asked, reference)
  }

  /** The root needs a valid token only, with whatever rights. */
  async #isAllowed({ request, repository }: Asked, action: Action): Promise<boolean> {
    const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined) return false
    const { issuer, service: audience } = this.#options
    try {
      const { payload } = await jwtVerify(token, this.#key, { issuer, audience, algorithms: ['ES256'] })
      const access = payload.access as { type: string; name: string; actions: string[] }[]
      return (
        repository === '' ||
        access.some((right) => right.name === repository && right.actions.includes(action))
      )
    } catch {
      return false
    }
  }

  #challenge({ response, repository }: Asked, action: Action): void {
    const { realm, service } = this.#options
    const actions = action === 'push' ? 'pull,push' : 'pull'
    const scope = repository === '' ? '' : `,scope="repository:${repository}:${actions}"`
    refuse(response, 401, 'UNAUTHORIZED', {
      'www-authenticate': `Bearer realm="${realm}",service="${service}"${scope}`,
    })
  }

  #listTags({ response, repository }: Asked): void {
    const found = this.#repositories.get(repository)
    if (found === undefined) refuse(response, 404, 'NAME_UNKNOWN')
    else sendJson(response, 200, { name: repository, tags: [...found.tags.keys()].sort() })
  }

  async #sendManifest(asked: Asked, reference: string): Promise<void> {
    const found = this.#repositories.get(asked.repository)
    const digest = isDigest(reference) ? reference : found?.tags.get(reference)
    const type = digest && found?.mediaTypes.get(digest)
    if (digest === undefined || type === undefined) return refuse(asked.response, 404, 'MANIFEST_UNKNOWN')
    await this.#sendFile(asked, digest, type)
  }

  async #sendBlob(asked: Asked, digest: string): Promise<void> {
    const has = isDigest(digest) && this.#repositories.get(asked.repository)?.blobs.has(digest)
    if (!has) return refuse(asked.response, 404, 'BLOB_UNKNOWN')
    await this.#sendFile(asked, digest, 'application/octet-stream')
  }

  async #sendFile({ request, response, method }: Asked, digest: Digest, type: string): Promise<void> {
    const path = this.#fileOf(digest)
    const { size } = statSync(path)
    const part = partOf(request.headers.range, size)
    const common = { 'docker-content-digest': digest, 'accept-ranges': 'bytes', 'content-type': type }
    if (part === 'unsatisfiable')
      return refuse(response, 416, 'RANGE_INVALID', { 'content-range': `bytes */${size}` })
    const { start, end } = part ?? { start: 0, end: size }
    const range = part === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` }
    response.writeHead(part === undefined ? 200 : 206, { ...common, ...range, 'content-length': end - start })
    if (method === 'HEAD' || end === start) return void response.end()
    await pipeline(createReadStream(path, { start, end: end - 1 }), response)
  }

  async #putManifest({ request, response, repository }: Asked, reference: string): Promise<void> {
    const body = await bodyOf(request)
    if (body === undefined) return refuse(response, 413, 'SIZE_INVALID')
    const digest = digestOf(body)
    if (isDigest(reference) && reference !== digest) return refuse(response, 400, 'DIGEST_INVALID')
    const home = this.#repositoryOf(repository)
    if (home === undefined) return refuse(response, 429, 'TOOMANYREQUESTS')
    const missing = blobsNamedBy(body)?.filter((blob) => !home.blobs.has(blob))
    if (missing === undefined) return refuse(response, 400, 'MANIFEST_INVALID')
    if (missing.length > 0) return refuse(response, 400, 'MANIFEST_BLOB_UNKNOWN')
    await writeFile(this.#fileOf(digest), body, { mode: 0o600 })
    home.mediaTypes.set(digest, request.headers['content-type'] ?? 'application/octet-stream')
    if (!isDigest(reference)) home.tags.set(reference, digest)
    const location = `/v2/${repository}/manifests/${digest}`
    response.writeHead(201, { location, 'docker-content-digest': digest, 'content-length': 0 }).end()
  }

  /** distribution-spec, "Pushing a blob in chunks" and "POST then PUT". */
  async #upload({ request, response, method, url, repository }: Asked, id: string): Promise<void> {
    if (method === 'POST' && id === '') {
      const home = this.#repositoryOf(repository)
      if (home === undefined || this.#uploads.size >= UPLOADS_MAX)
        return refuse(response, 429, 'TOOMANYREQUESTS')
      const begun = randomUUID()
      this.#uploads.set(begun, 0)
      const location = `/v2/${repository}/blobs/uploads/${begun}`
      return void response.writeHead(202, { location, range: '0-0', 'content-length': 0 }).end()
    }
    const had = this.#uploads.get(id)
    if (had === undefined) return refuse(response, 404, 'BLOB_UPLOAD_UNKNOWN')
    if (method !== 'PATCH' && method !== 'PUT') return refuse(response, 405, 'UNSUPPORTED')
    const draft = join(this.#options.dir, `upload-${id}`)
    await pipeline(request, createWriteStream(draft, { flags: 'a', mode: 0o600 }))
    const bytes = statSync(draft).size
    this.#uploads.set(id, bytes)
    if (method === 'PATCH') {
      const location = url.pathname
      return void response
        .writeHead(202, { location, range: `0-${Math.max(0, bytes - 1)}`, 'content-length': 0 })
        .end()
    }
    this.#uploads.delete(id)
    const digest = url.searchParams.get('digest') ?? ''
    if (digest !== (await digestOfStored(draft))) {
      await rm(draft)
      return refuse(response, 400, 'DIGEST_INVALID')
    }
    await rename(draft, this.#fileOf(digest as Digest))
    this.#repositoryOf(repository)?.blobs.add(digest as Digest)
    const location = `/v2/${repository}/blobs/${digest}`
    response.writeHead(201, { location, 'docker-content-digest': digest, 'content-length': 0 }).end()
  }

  /** Made when something is pushed to it first. Undefined: there are too many. */
  #repositoryOf(name: string): Repository | undefined {
    const found = this.#repositories.get(name)
    if (found !== undefined || this.#repositories.size >= REPOSITORIES_MAX) return found
    const made = { blobs: new Set<Digest>(), mediaTypes: new Map(), tags: new Map() }
    this.#repositories.set(name, made)
    return made
  }

  #fileOf(digest: Digest): string {
    return join(this.#options.dir, digestHex(digest))
  }
}

/**
 * The part [start, end) of a file that a range names (RFC 9110 §14.1.2). Undefined: the whole, also for several ranges.
 */
export function partOf(
  range: string | undefined,
  bytes: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range ?? '') ?? []
  if (first === '' && last === '') return undefined
  const start = first === '' ? Math.max(0, bytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? bytes : Math.min(bytes, Number(last) + 1)
  return start >= end ? 'unsatisfiable' : { start, end }
}

/** Config and layers; undefined for what is no manifest of an image. */
function blobsNamedBy(body: Buffer): Digest[] | undefined {
  try {
    const { config, layers } = JSON.parse(body.toString())
    const digests = [config, ...layers].map(({ digest }: { digest: string }) => digest)
    return digests.every(isDigest) ? digests : undefined
  } catch {
    return undefined
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MANIFEST_BYTES_MAX) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function digestOf(bytes: Buffer): Digest {
  return digestFromHex(createHash('sha256').update(bytes).digest('hex'))
}

async function digestOfStored(path: string): Promise<Digest> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return digestFromHex(hash.digest('hex'))
}

/** Errors as registries write them (distribution-spec, "Error Codes"). */
function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: OutgoingHttpHeaders = {},
): void {
  sendJson(
    response,
    status,
    { errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] },
    headers,
  )
}

function sendJson(
  response: ServerResponse,
  status: number,
  value: object,
  headers: OutgoingHttpHeaders = {},
): void {
  const body = JSON.stringify(value)
  const length = Buffer.byteLength(body)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': length, ...headers })
  response.end(body)
}
