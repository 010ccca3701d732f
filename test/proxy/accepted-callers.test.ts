import { createHash, randomBytes } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../core/digest.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import {
  ACCEPTED_CALLER_MS,
  ACCEPTED_CALLERS_MAX,
  AcceptedCallers,
  NAMED_MS,
} from '../../proxy/accepted-callers.ts'
import type { BlobGet } from '../../proxy/blob-request.ts'
import { makeSigner, pullClaims } from '../core/signed-tokens.ts'
import { P2P_MIN_BYTES, startTestProxy, type TestProxy } from './test-proxy.ts'

const blobOf = (bytes: number) => {
  const content = randomBytes(bytes)
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest
  return { content, digest, size: bytes }
}
const config = blobOf(P2P_MIN_BYTES - 1)
const layers = [blobOf(300_000), blobOf(200_000), blobOf(100_000)] as const
const unnamed = blobOf(150_000)
const all = [config, ...layers, unnamed]
const MANIFEST = '/v2/team/app/manifests/v1'
const manifest = JSON.stringify({ schemaVersion: 2, config, layers }, (key, value) =>
  key === 'content' ? undefined : value,
)

let proxy: TestProxy | undefined
afterEach(() => proxy?.close())

interface Manners {
  /** Whether the registry lets the sender of this header have this blob; manifests go to whoever is not forged. */
  gives?: (authorization: string, digest: Digest) => boolean
  /** How long it thinks about a question. */
  waitMs?: number
  isMember?: boolean
}

async function start({ gives = () => true, waitMs = 0, isMember = true }: Manners = {}) {
  proxy = await startTestProxy(async ({ headers, method, url }, response) => {
    const { authorization = '' } = headers
    if (authorization === '' || authorization === 'Bearer forged') return void response.writeHead(401).end()
    if (url === MANIFEST)
      return void response
        .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
        .end(manifest)
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    const blob = all.find(({ digest }) => url?.endsWith(digest))
    if (blob === undefined || !gives(authorization, blob.digest)) return void response.writeHead(403).end()
    response.writeHead(200, { 'content-length': blob.size })
    response.end(method === 'HEAD' ? undefined : blob.content)
  })
  for (const { digest, content } of [...layers, unnamed]) proxy!.client.hold(digest, content)
  proxy!.client.isMember = isMember
  const get = async (path: string, authorization = 'Bearer good') => {
    const answer = await proxy!.ask(path, { headers: { authorization } })
    await answer.body.dump()
    return answer.statusCode
  }
  const read = ({ digest }: { digest: Digest }, authorization?: string) =>
    get(`/v2/team/app/blobs/${digest}`, authorization)
  /** Requests about blobs, by method. */
  const asked = () =>
    proxy!.registry.requests
      .filter(({ line }) => line.includes('/blobs/'))
      .map(({ line }) => line.split(' ')[0])
  return { read, asked, manifest: (authorization?: string) => get(MANIFEST, authorization) }
}

describe('the registry’s word about one layer', () => {
  test('counts for the other layers of the image, which are asked for nothing', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked()).toEqual(['HEAD'])
    expect(proxy!.client.opened).toHaveLength(3)
    // It is no news about the others.
    expect(proxy!.client.accepted).toHaveLength(1)
  })

  test('counts for those that are asked for at the same time', async () => {
    const { read, asked, manifest } = await start({ waitMs: 30 })
    await manifest()
    expect(await Promise.all(layers.map((layer) => read(layer)))).toEqual([200, 200, 200])
    expect(asked()).toEqual(['HEAD'])
  })

  test('may be its answer to the client’s own request for the image’s configuration', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    expect(await read(config)).toBe(200)
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked()).toEqual(['GET'])
  })

  test('counts for no blob of which no registry said that it is in the repository', async () => {
    const { read, asked, manifest } = await start({ isMember: false })
    await manifest()
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked()).toEqual(['HEAD', 'HEAD', 'HEAD'])
  })

  test('counts for no blob that no manifest named, or named to somebody else only', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    await read(layers[0])
    expect(await read(unnamed)).toBe(200)
    expect(asked()).toEqual(['HEAD', 'HEAD'])
    expect(await read(layers[0], 'Bearer better')).toBe(200)
    expect(await read(layers[1], 'Bearer better')).toBe(200)
    expect(asked()).toEqual(['HEAD', 'HEAD', 'HEAD', 'HEAD'])
  })

  test('is a word about a layer: who may read manifests only gets no layer', async () => {
    const gives = (authorization: string) => authorization === 'Bearer good'
    const { read, manifest } = await start({ gives })
    await manifest('Bearer good')
    await manifest('Bearer reader')
    await read(layers[0])
    for (const blob of [config, ...layers]) expect(await read(blob, 'Bearer reader')).toBe(403)
    expect(proxy!.client.opened).toHaveLength(1)
  })

  test('is for one header: another one is shown to the registry, and refused by it', async () => {
    const { read, manifest } = await start()
    await manifest()
    await read(layers[0])
    expect(await read(layers[1], 'Bearer forged')).toBe(401)
    expect(await read(layers[1], 'Bearer forged')).toBe(401)
    expect(proxy!.client.opened).toHaveLength(1)
  })
})

const HOST = 'registry.example' as RegistryHost
const get = (changes: Partial<BlobGet> = {}): BlobGet => ({
  repository: 'team/app' as Repository,
  digest: layers[0].digest,
  credential: { scheme: 'bearer', token: 'opaque' },
  authorization: 'Bearer opaque',
  query: '',
  ...changes,
})

describe('an acceptance of a caller', () => {
  test('ends after its minute, and with the token', async () => {
    let nowMs = Date.now()
    const callers = new AcceptedCallers(() => nowMs)
    const seconds = Math.floor(nowMs / 1000)
    const times = { iat: seconds, nbf: seconds - 1, exp: seconds + 20 }
    const token = makeSigner('ES256').sign(pullClaims('team/app', times))
    const short = get({ credential: { scheme: 'bearer', token }, authorization: `Bearer ${token}` })
    for (const caller of [short, get()]) {
      callers.named(HOST, caller, [caller.digest])
      callers.note(HOST, caller)
    }
    nowMs += 18_000
    expect(await callers.find(HOST, short)).toBeDefined()
    nowMs += 3_000
    expect(await callers.find(HOST, short)).toBeUndefined()
    expect(await callers.find(HOST, get())).toBe(nowMs - 21_000)
    nowMs += ACCEPTED_CALLER_MS
    expect(await callers.find(HOST, get())).toBeUndefined()
    callers.note(HOST, get())
    nowMs += NAMED_MS
    callers.note(HOST, get())
    expect(await callers.find(HOST, get())).toBeUndefined()
  })

  test('is for one registry, repository and header, and for no request with a query', async () => {
    const callers = new AcceptedCallers()
    const others = [
      get({ repository: 'team/other' as Repository }),
      get({ authorization: undefined }),
      get({ authorization: 'bearer opaque' }),
      get({ query: '?ns=registry.example' }),
    ]
    for (const caller of [get(), ...others]) callers.named(HOST, caller, [caller.digest])
    callers.note(HOST, get())
    expect(await callers.find(HOST, get())).toBeDefined()
    for (const other of others) expect(await callers.find(HOST, other)).toBeUndefined()
    expect(await callers.find('other.example' as RegistryHost, get())).toBeUndefined()
    callers.note(HOST, get({ authorization: 'Bearer other', query: '?ns=registry.example' }))
    expect(await callers.find(HOST, get({ authorization: 'Bearer other' }))).toBeUndefined()
  })

  test('is one of a bounded number: the oldest is forgotten', async () => {
    const callers = new AcceptedCallers()
    for (let at = 0; at <= ACCEPTED_CALLERS_MAX; at += 1) {
      const caller = get({ authorization: `Bearer ${at}` })
      callers.named(HOST, caller, [caller.digest])
      callers.note(HOST, caller)
    }
    expect(await callers.find(HOST, get({ authorization: 'Bearer 0' }))).toBeUndefined()
    expect(await callers.find(HOST, get({ authorization: 'Bearer 1' }))).toBeDefined()
  })
})
