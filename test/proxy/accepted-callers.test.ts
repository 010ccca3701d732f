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
/** A question that the node asks without a credential. */
const STRANGER = ' as a stranger'
const MANIFEST = '/v2/team/app/manifests/v1'
const manifest = JSON.stringify({ schemaVersion: 2, config, layers }, (key, value) =>
  key === 'content' ? undefined : value,
)

let proxy: TestProxy | undefined
afterEach(() => proxy?.close())

interface Manners {
  /** Blobs that it gives to everybody, and the manifest. */
  isOpen?: (digest: Digest) => boolean
  /** Whether the registry lets the sender of this header have this blob; manifests go to whoever is not forged. */
  gives?: (authorization: string, digest: Digest) => boolean
  /** How long it thinks about a question. */
  waitMs?: number
  isMember?: boolean
}

async function start({ isOpen, gives = () => true, waitMs = 0, isMember = true }: Manners = {}) {
  proxy = await startTestProxy(async ({ headers, method, url }, response) => {
    const { authorization = '' } = headers
    const named = all.find(({ digest }) => url?.endsWith(digest))
    const isStranger = authorization === '' || authorization === 'Bearer forged'
    const isForAll = isOpen !== undefined && (named === undefined || isOpen(named.digest))
    if (isStranger && !isForAll) return void response.writeHead(401).end()
    if (url === MANIFEST)
      return void response
        .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
        .end(manifest)
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    const blob = named
    if (blob === undefined || !gives(authorization, blob.digest)) return void response.writeHead(403).end()
    response.writeHead(200, { 'content-length': blob.size })
    response.end(method === 'HEAD' ? undefined : blob.content)
  })
  for (const { digest, content } of [...layers, unnamed]) proxy!.client.hold(digest, content)
  proxy!.client.isMember = isMember
  const get = async (path: string, authorization = 'Bearer good') => {
    const headers: Record<string, string> = authorization === '' ? {} : { authorization }
    const answer = await proxy!.ask(path, { headers })
    await answer.body.dump()
    return answer.statusCode
  }
  const read = ({ digest }: { digest: Digest }, authorization?: string) =>
    get(`/v2/team/app/blobs/${digest}`, authorization)
  /** Requests about blobs, by method. */
  const asked = () =>
    proxy!.registry.requests
      .filter(({ line }) => line.includes('/blobs/'))
      .map(({ line, authorization }) => `${line.split(' ')[0]}${authorization === undefined ? STRANGER : ''}`)
  return { read, asked, manifest: (authorization?: string) => get(MANIFEST, authorization) }
}

describe('the registry’s word about one layer', () => {
  test('counts for the other layers of the image, which are asked for nothing', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked()).toEqual(['HEAD', `HEAD${STRANGER}`])
    expect(proxy!.client.opened).toHaveLength(3)
    // It is no news about the others.
    expect(proxy!.client.accepted).toHaveLength(1)
  })

  test('counts for those that are asked for at the same time', async () => {
    const { read, asked, manifest } = await start({ waitMs: 30 })
    await manifest()
    expect(await Promise.all(layers.map((layer) => read(layer)))).toEqual([200, 200, 200])
    expect(asked()).toEqual(['HEAD', `HEAD${STRANGER}`])
  })

  test('may be its answer to the client’s own request for the image’s configuration', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    expect(await read(config)).toBe(200)
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked()).toEqual(['GET', `GET${STRANGER}`])
  })

  test('counts for no blob of which no registry said that it is in the repository', async () => {
    const { read, asked, manifest } = await start({ isMember: false })
    await manifest()
    for (const layer of layers) expect(await read(layer)).toBe(200)
    expect(asked().filter((one) => one === 'HEAD')).toHaveLength(3)
    expect(asked()).toHaveLength(4)
  })

  test('counts for no blob that no manifest named, or named to somebody else only', async () => {
    const { read, asked, manifest } = await start()
    await manifest()
    await read(layers[0])
    expect(await read(unnamed)).toBe(200)
    expect(asked().filter((one) => one === 'HEAD')).toHaveLength(2)
    expect(await read(layers[0], 'Bearer better')).toBe(200)
    expect(await read(layers[1], 'Bearer better')).toBe(200)
    expect(asked().filter((one) => one === 'HEAD')).toHaveLength(4)
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

  test.each([
    ['the configuration', config],
    ['a layer', layers[0]],
  ])('is none if everybody gets it: %s of a repository that is open in part', async (_, open) => {
    const { read, asked, manifest } = await start({ isOpen: (digest) => digest === open.digest })
    for (const one of layers) await read(one)
    const before = proxy!.client.opened.length
    for (const nobody of ['', 'Bearer forged']) {
      await manifest(nobody)
      expect(await read(open, nobody)).toBe(200)
      for (const layer of layers.filter((one) => one !== open)) expect(await read(layer, nobody)).toBe(401)
    }
    // Of the layers, the node gave its copy of the open one only.
    expect(proxy!.client.opened.length - before).toBeLessThanOrEqual(open === config ? 0 : 2)
    expect(asked().filter((one) => one.endsWith(STRANGER)).length).toBeLessThan(12)
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
