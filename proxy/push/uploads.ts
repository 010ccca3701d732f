import type { IncomingMessage } from 'node:http'
import type { Client, PushCopy } from '../../client/index.ts'
import { BoundedMap } from '../../core/bounded-map.ts'
import { type Digest, isDigest } from '../../core/digest.ts'
import type { RegistryApi, RegistryHost, Repository } from '../../core/repository.ts'
import type { SizeLimit } from '../size-limit.ts'
import { type AnswerHeaders, hasBody } from '../upstream/forward.ts'
import {
  bytesTaken,
  chunkStart,
  closingDigest,
  nextTarget,
  readUploadBegin,
  type UploadBegin,
  uploadKey,
} from './upload-request.ts'

/** Uploads that a later request may continue. The client bounds their copies, in number and in age. */
export const UPLOADS_MAX = 256

/** One upload at a registry. */
interface Upload {
  /** Its end was answered: what else is answered for it, late, changes nothing. */
  isOver: boolean
  repository: Repository
  copy: PushCopy
  /** Bytes that the registry has, as far as anybody told. */
  offset: number
}

/** Hears of one request of an upload and its answer. */
export interface UploadStep {
  onBody(chunk: Uint8Array): void
  onAnswer(status: number, headers: AnswerHeaders): void
}

/**
 * Follows the uploads of one proxy from request to request by what the registry answers, and gives their bytes to the client.
 * Invariant: it only watches. Where it loses track, only our copy ends: whether the copy is right shows its own hash.
 */
export class Uploads {
  readonly #pushes: Client['pushes']
  readonly #limit: Readonly<SizeLimit>
  readonly #open = new BoundedMap<string, Upload>(UPLOADS_MAX)

  /** @param limit smaller blobs are not kept */
  constructor(pushes: Client['pushes'], limit: Readonly<SizeLimit>) {
    this.#pushes = pushes
    this.#limit = limit
  }

  /** @returns undefined if the request belongs to no upload */
  watch(request: IncomingMessage, { host: registry, apiPath }: RegistryApi): UploadStep | undefined {
    const { method, url = '' } = request
    const begin = readUploadBegin(request, apiPath)
    if (begin !== undefined) return this.#beginning(begin, request, registry)
    if (!['PATCH', 'PUT', 'GET', 'DELETE'].includes(method ?? '')) return undefined
    const key = keyOf(registry, url)
    const upload = this.#open.get(key)
    if (upload === undefined || upload.isOver) return undefined
    if (method === 'DELETE') return this.#deleting(key, upload)
    return this.#continuing({ key, upload, request, registry })
  }

  #beginning(begin: UploadBegin, request: IncomingMessage, registry: RegistryHost): UploadStep {
    const { repository, mount, digest } = begin
    const copy = digest !== undefined && hasBody(request) ? this.#pushes.begin(registry) : undefined
    const onAnswer = (status: number, headers: AnswerHeaders) => {
      if (status === 201 && mount !== undefined && isOf(mount, headers))
        this.#pushes.mounted({ registry, repository, digest: mount })
      if (status === 201 && copy && digest !== undefined)
        this.#end(copy, { registry, repository, digest, headers })
      else copy?.drop()
      if (status === 202)
        this.#follow(nextTarget(headers.location, request.url ?? '', registry), registry, repository)
    }
    return { onBody: (chunk) => copy?.append(chunk), onAnswer }
  }

  #follow(target: string | undefined, registry: RegistryHost, repository: Repository): void {
    const copy = target === undefined ? undefined : this.#pushes.begin(registry)
    if (target === undefined || copy === undefined) return
    this.#open.set(keyOf(registry, target), { isOver: false, repository, copy, offset: 0 })
  }

  #continuing({
    key,
    upload,
    request,
    registry,
  }: {
    key: string
    upload: Upload
    request: IncomingMessage
    registry: RegistryHost
  }): UploadStep {
    const { method, url = '' } = request
    const { copy } = upload
    const isSending = hasBody(request)
    const start = chunkStart(request.headers['content-range']) ?? upload.offset
    if (isSending) this.#beginChunk(upload, start)
    const onAnswer = (status: number, headers: AnswerHeaders) => {
      if (upload.isOver) return
      const isTaken = status >= 200 && status < 300
      // After a refusal nobody knows what the registry kept, if not the client: it says so, or asks.
      const own = isTaken ? copy.bytes : isSending ? start : upload.offset
      upload.offset = bytesTaken(headers.range) ?? own
      upload.isOver = (method === 'PUT' && status === 201) || ENDED.has(status)
      if (upload.isOver) this.#open.delete(key)
      if (method === 'PUT' && status === 201) {
        const digest = closingDigest(url)
        if (digest !== undefined && copy.bytes === upload.offset)
          this.#end(copy, { registry, repository: upload.repository, digest, headers })
        else copy.drop()
      } else if (upload.isOver) {
        copy.drop()
      } else if (isTaken) this.#moved(key, upload, nextTarget(headers.location, url, registry), registry)
    }
    return { onBody: (chunk) => copy.append(chunk), onAnswer }
  }

  #beginChunk(upload: Upload, start: number): void {
    const { copy } = upload
    // With a gap nobody can tell what the registry makes of it. Two chunks at a time are found out by the hash.
    if (start > copy.bytes) copy.drop()
    else copy.rewind(start)
    upload.offset = start
  }

  /** The registry names the upload anew with each answer; some do not. */
  #moved(key: string, upload: Upload, target: string | undefined, registry: RegistryHost): void {
    if (target === undefined) return
    this.#open.delete(key)
    this.#open.set(keyOf(registry, target), upload)
  }

  #deleting(key: string, upload: Upload): UploadStep {
    const onAnswer = (status: number) => {
      if (upload.isOver || (status >= 300 && status !== 404)) return
      upload.isOver = true
      this.#open.delete(key)
      upload.copy.drop()
    }
    return { onBody: () => undefined, onAnswer }
  }

  #end(
    copy: PushCopy,
    {
      headers,
      ...blob
    }: { registry: RegistryHost; repository: Repository; digest: Digest; headers: AnswerHeaders },
  ): void {
    if (copy.bytes < this.#limit.p2pMinBytes || !isOf(blob.digest, headers)) copy.drop()
    else copy.accepted(blob)
  }
}

/** The upload is over: refused for its content, or unknown (OCI distribution-spec, "Error codes"). */
const ENDED: ReadonlySet<number> = new Set([400, 404, 410])

function keyOf(registry: RegistryHost, target: string): string {
  return `${registry} ${uploadKey(target)}`
}

/** The registry names this blob, or none. */
function isOf(digest: Digest, headers: AnswerHeaders): boolean {
  const named = String(headers['docker-content-digest'] ?? '')
  return !isDigest(named) || named === digest
}
