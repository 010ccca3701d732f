import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { digestFromHex } from '../../core/digest.ts'
import type { Door } from '../core/test-registry.ts'
import type { BlobRegistry } from './test-cluster.ts'

/** Lets clients push to a registry of a test, as Distribution does; the rest is the registry's own. */
export interface PushDoor {
  door: Door
  /** Where uploads are, as a prefix of their path. */
  uploadsAt: string
  /** Answers the next requests of this method with this status, and takes nothing. */
  refuse: { method: string; status: number; times: number } | undefined
  /** The registry keeps only so many bytes of the next chunk, and breaks the connection. */
  breakAfterBytes: number | undefined
  /** What the registry takes an upload for, if not for what it is. */
  keepsInstead: Buffer | undefined
}

export function pushDoor(registry: BlobRegistry, inner: Door = registry.door): PushDoor {
  const uploads = new Map<string, { repository: string; bytes: Buffer; state: string }>()
  const taken = new Map<string, Buffer>()
  const door = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url!, 'https://registry')
    const { method } = request
    const { refuse } = push
    if (refuse !== undefined && refuse.method === method && refuse.times > 0) {
      refuse.times -= 1
      request.resume()
      return void request.on('end', () => response.writeHead(refuse.status).end())
    }
    const begun = /^\/v2\/(.+)\/blobs\/uploads\/$/.exec(url.pathname)
    const manifest = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(url.pathname)
    const id = url.searchParams.get('id')
    if (method === 'POST' && begun) {
      const [mount, from] = [url.searchParams.get('mount'), url.searchParams.get('from')]
      const mounted = from ? taken.get(mount ?? '') : undefined
      if (mounted) registry.add(mounted)
      if (mounted) return void response.writeHead(201, { 'docker-content-digest': mount! }).end()
      const upload = { repository: begun[1]!, bytes: Buffer.alloc(0), state: randomUUID() }
      const name = randomUUID()
      uploads.set(name, upload)
      return void response.writeHead(202, { location: locationOf(name), range: '0-0' }).end()
    }
    const upload = id === null ? undefined : uploads.get(id)
    if (upload !== undefined && id !== null) {
      if (url.searchParams.get('_state') !== upload.state) return void response.writeHead(400).end()
      return void (await takeChunk(request, response, { url, id, upload }))
    }
    if (manifest && method === 'PUT') {
      const body = await bodyOf(request)
      return void response.writeHead(201, { 'docker-content-digest': digestOf(body) }).end()
    }
    return inner(request, response)
  }
  const locationOf = (id: string) =>
    `${push.uploadsAt}?_state=${encodeURIComponent(uploads.get(id)!.state)}&id=${id}`
  const takeChunk = async (
    request: IncomingMessage,
    response: ServerResponse,
    {
      url,
      id,
      upload,
    }: { url: URL; id: string; upload: { repository: string; bytes: Buffer; state: string } },
  ) => {
    const range = () => `0-${Math.max(0, upload.bytes.length - 1)}`
    if (request.method === 'GET')
      return response.writeHead(204, { location: locationOf(id), range: range() }).end()
    if (request.method === 'DELETE') return uploads.delete(id) && response.writeHead(204).end()
    const most = push.breakAfterBytes
    push.breakAfterBytes = undefined
    const body = most === undefined ? await bodyOf(request) : await beginningOf(request, most)
    upload.bytes = Buffer.concat([upload.bytes, body])
    if (most !== undefined) return void response.destroy()
    if (request.method === 'PATCH') {
      upload.state = `${randomUUID()}=&+/`
      return response.writeHead(202, { location: locationOf(id), range: range() }).end()
    }
    const digest = url.searchParams.get('digest')
    uploads.delete(id)
    if (digest !== digestOf(upload.bytes)) return response.writeHead(400).end()
    const kept = push.keepsInstead
    taken.set(digest, upload.bytes)
    registry.add(kept ?? upload.bytes, upload.repository)
    return response.writeHead(201, { 'docker-content-digest': kept ? digestOf(kept) : digest }).end()
  }
  const push: PushDoor = {
    ...{
      door,
      uploadsAt: '/uploads/of/all',
      refuse: undefined,
      breakAfterBytes: undefined,
      keepsInstead: undefined,
    },
  }
  return push
}

export function digestOf(bytes: Buffer) {
  return digestFromHex(createHash('sha256').update(bytes).digest('hex'))
}

/** The first bytes; the rest is never read. */
async function beginningOf(request: IncomingMessage, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  while (length < bytes) {
    const [chunk] = (await once(request, 'data')) as [Buffer]
    chunks.push(chunk)
    length += chunk.length
  }
  return Buffer.concat(chunks).subarray(0, bytes)
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}
