import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../core/digest.ts'
import { HEAD_CONNECTIONS_MAX, openRegistries } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import { HELD_BACK_BYTES_MAX } from '../../proxy/upstream/forward.ts'
import type { Door } from '../core/test-registry.ts'
import { type FakeBlob, NoSwarmError } from './fake-client.ts'
import { codeOf, P2P_MIN_BYTES, startTestProxy, type TestProxy } from './test-proxy.ts'

const content = randomBytes(300_000)
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
const blobPath = `/v2/team/app/blobs/${digest}`
const authorization = 'Bearer good'

let proxy: TestProxy
afterEach(() => proxy.close())

/** Serves the one blob to the one token; says who asked for its bytes. */
const registryDoor: Door = (request, response) => {
  if (request.headers.authorization !== authorization) return refuse(response)
  if (request.url !== blobPath) return response.writeHead(404).end('not here') && undefined
  response.writeHead(200, { 'content-length': content.length, 'x-from': 'registry' })
  response.end(request.method === 'HEAD' ? undefined : content)
}

const cutOff: Door = (request) => {
  request.socket.destroy()
}

function refuse(response: ServerResponse): void {
  response.writeHead(401, { 'www-authenticate': 'Bearer realm="https://tokens.example/"' }).end('who are you')
}

const linesOf = () => proxy.registry.requests.map(({ line }) => line)

describe('a blob that the client can serve', () => {
  test('comes from the client once the registry has said yes to this request’s own credential', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.statusCode).toBe(200)
    expect(answer.headers).toMatchObject({
      'content-length': String(content.length),
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      etag: `"${digest}"`,
      'accept-ranges': 'bytes',
    })
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(linesOf()).toEqual([`HEAD ${blobPath}`])
    expect(proxy.client.requests[0]).toMatchObject({
      registry: proxy.registry.host,
      repository: 'team/app',
      bytes: content.length,
      credential: { scheme: 'bearer', token: 'good' },
    })
  })

  test('is closed exactly once when it has been sent', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    await (await proxy.ask(blobPath, { headers: { authorization } })).body.dump()
    await proxy.client.opened[0]!.closed
    expect(proxy.client.opened.map(({ closes }) => closes)).toEqual([1])
  })

  test.each([
    ['bytes=0-0', 0, 1],
    ['bytes=100000-', 100_000, 300_000],
    ['bytes=5-99999', 5, 100_000],
    ['bytes=299999-900000', 299_999, 300_000],
    ['bytes=-7', 299_993, 300_000],
  ])('answers Range %s with 206 and those bytes', async (range, start, end) => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { headers: { authorization, range } })
    expect(answer.statusCode).toBe(206)
    expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/300000`)
    expect(answer.headers['content-length']).toBe(String(end - start))
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content.subarray(start, end))).toBe(true)
  })

  test('answers 416 with its length to a range behind its end, and opens nothing for it', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { headers: { authorization, range: 'bytes=300000-' } })
    expect(answer.statusCode).toBe(416)
    expect(answer.headers['content-range']).toBe('bytes */300000')
    expect(proxy.client.opened).toEqual([])
  })

  test('is sent whole when the range is conditional on another version of it', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const headers = { authorization, range: 'bytes=5-6', 'if-range': '"sha256:other"' }
    expect((await proxy.ask(blobPath, { headers })).statusCode).toBe(200)
  })

  test('is closed when the client goes away, and no more of it is read', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.held.set(digest, {
      bytes: content.length,
      async *read(_start, _end, blob) {
        yield content.subarray(0, 1000)
        await blob.closed
        throw new NoSwarmError('the reader was closed')
      },
    })
    const gone = new AbortController()
    const answer = await proxy.ask(blobPath, { headers: { authorization }, signal: gone.signal })
    await once(answer.body, 'readable')
    gone.abort()
    answer.body.on('error', () => {})
    await proxy.client.opened[0]!.closed
    expect(proxy.client.opened[0]!).toMatchObject({ closes: 1, yielded: 1000 })
  })

  test('is read no faster than the client takes it', async () => {
    proxy = await startTestProxy(registryDoor)
    const large = 200 * 1024 * 1024
    const piece = Buffer.alloc(256 * 1024)
    proxy.client.held.set(digest, {
      bytes: content.length,
      async *read() {
        for (let sent = 0; sent < large; sent += piece.length) yield piece
      },
    })
    const secure = await proxy.secure()
    secure.pause()
    secure.write(
      `GET ${blobPath} HTTP/1.1\r\nHost: ${proxy.registry.host}\r\nAuthorization: ${authorization}\r\n\r\n`,
    )
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(proxy.client.opened[0]!.yielded).toBeGreaterThan(0)
    expect(proxy.client.opened[0]!.yielded).toBeLessThan(32 * 1024 * 1024)
    secure.destroy()
  })
})

describe('who may have a blob', () => {
  test('an unauthorised caller gets the registry’s own 401 although the blob is held', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    for (const headers of [{}, { authorization: 'Bearer bad' }]) {
      const answer = await proxy.ask(blobPath, { headers })
      expect(answer.statusCode).toBe(401)
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="https://tokens.example/"')
      expect(await answer.body.text()).toBe('who are you')
    }
    expect(proxy.client.requests).toEqual([])
  })

  test('the blob of another repository is the registry’s to refuse', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(`/v2/other/app/blobs/${digest}`, { headers: { authorization } })
    expect(answer.statusCode).toBe(404)
    expect(proxy.client.requests).toEqual([])
  })

  test.each([
    ['an encoded path', blobPath.replace('sha256:', 'sha256%3A')],
    ['a path with dots', `/v2/team/../team/app/blobs/${digest}`],
    [
      'an upper-case digest',
      blobPath.toUpperCase().replace('/V2/TEAM/APP/BLOBS/SHA256', '/v2/team/app/blobs/sha256'),
    ],
    ['a query other than the namespace', `${blobPath}?ns=elsewhere&x=1`],
  ])('%s goes to the registry as it was written', async (_name, path) => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    await (await proxy.ask(path, { headers: { authorization } })).body.dump()
    expect(linesOf()).toEqual([`GET ${path}`])
    expect(proxy.client.requests).toEqual([])
  })

  test('HEAD is the registry’s to answer', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { method: 'HEAD', headers: { authorization } })
    expect(answer.headers['x-from']).toBe('registry')
    expect(answer.headers['content-length']).toBe(String(content.length))
  })
})

describe('a registry that answers by a redirect', () => {
  const plan = {
    schemaVersion: 2,
    config: { mediaType: 'c', digest: `sha256:${'0'.repeat(64)}`, size: 10 },
    layers: [{ mediaType: 'l', digest, size: content.length }],
  }
  /** @param stranger status for whoever brings no credential; the manifest has no secrets here */
  const redirectDoor =
    (stranger: number, head: number): Door =>
    ({ url, method, headers }, response) => {
      if (url === '/v2/team/app/manifests/v1')
        return void response
          .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
          .end(JSON.stringify(plan))
      const isStranger = headers.authorization === undefined
      const status = isStranger ? stranger : head
      response.writeHead(method === 'HEAD' ? status : 418, { location: 'https://elsewhere.example/' })
      response.end()
    }

  async function start(stranger: number, head = 307, kind: 'token' | 'none' = 'token'): Promise<void> {
    proxy = await startTestProxy(redirectDoor(stranger, head), ({ config }) => ({
      registries: openRegistries([{ ...config, kind }]),
    }))
    proxy.client.hold(digest, content)
    await (await proxy.ask('/v2/team/app/manifests/v1')).body.dump()
    proxy.registry.requests.length = 0
  }

  test('says that the caller may have it where strangers are refused, who are asked for once', async () => {
    await start(401)
    for (let count = 0; count < 3; count++) {
      const answer = await proxy.ask(blobPath, { headers: { authorization } })
      expect((await answer.body.arrayBuffer()).byteLength).toBe(content.length)
    }
    expect(proxy.registry.requests.map((asked) => asked.authorization)).toEqual([authorization, undefined])
  })

  test.each([302, 307, 200, 404])('says nothing where strangers get %i', async (stranger) => {
    await start(stranger)
    expect((await proxy.ask(blobPath, { headers: { authorization } })).statusCode).toBe(418)
    expect(proxy.client.requests).toEqual([])
    expect(await proxy.metrics.text()).toContain('shoal_proxy_requests_total{outcome="registry_unproven"} 1')
  })

  test.each([302, 307, 200])('never lets in who brings no credential, with %i', async (status) => {
    await start(status, status)
    expect((await proxy.ask(blobPath)).statusCode).toBe(418)
    expect(proxy.client.requests).toEqual([])
  })

  test('or by a 200 without length, is not believed either where strangers get the same', async () => {
    await start(200, 200)
    expect((await proxy.ask(blobPath, { headers: { authorization } })).statusCode).toBe(418)
    expect(proxy.client.requests).toEqual([])
  })

  test('is believed where nobody needs a credential', async () => {
    await start(307, 307, 'none')
    const answer = await proxy.ask(blobPath)
    expect((await answer.body.arrayBuffer()).byteLength).toBe(content.length)
    expect(proxy.registry.requests).toHaveLength(1)
  })
})

describe('what the client is told that the registry accepted', () => {
  test('is a request whose blob is open, by the registry’s own word', async () => {
    proxy = await startTestProxy(registryDoor)
    await (await proxy.ask(blobPath, { headers: { authorization } })).body.dump()
    expect(proxy.client.accepted).toEqual([])
    proxy.client.hold(digest, content)
    await (await proxy.ask(blobPath, { headers: { authorization } })).body.dump()
    await (await proxy.ask(blobPath, { headers: { authorization: 'Bearer bad' } })).body.dump()
    expect(proxy.client.accepted).toMatchObject([{ digest, credential: { scheme: 'bearer', token: 'good' } }])
  })

  test('is not a request for which the client vouched: it would vouch for ever', async () => {
    proxy = await startTestProxy(cutOff)
    proxy.client.hold(digest, content)
    proxy.client.standing = content.length
    await (await proxy.ask(blobPath, { headers: { authorization } })).body.dump()
    expect(proxy.client.opened).toHaveLength(1)
    expect(proxy.client.accepted).toEqual([])
  })
})

describe('while the registry does not answer', () => {
  test('nobody is vouched for who chose it himself, as the registry that a mirror answers for', async () => {
    proxy = await startTestProxy(cutOff)
    proxy.client.hold(digest, content)
    proxy.client.standing = content.length
    const chosen = await proxy.ask(`${blobPath}?ns=registry.example`, { headers: { authorization } })
    await chosen.body.dump()
    expect([chosen.statusCode, proxy.client.opened]).toEqual([502, []])
    const own = await proxy.ask(blobPath, { headers: { authorization } })
    expect(Buffer.from(await own.body.arrayBuffer()).equals(content)).toBe(true)
  })
})

describe('when Shoal cannot help', () => {
  test('a blob that the client cannot open comes from the registry, and the code is counted', async () => {
    proxy = await startTestProxy(registryDoor)
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.headers['x-from']).toBe('registry')
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(await proxy.metrics.text()).toContain('shoal_proxy_fallbacks_total{code="TRACKER_UNAVAILABLE"} 1')
  })

  test('a blob whose rest came from the registry is whole, and its record and a metric say why', async () => {
    proxy = await startTestProxy(registryDoor)
    const read = async function* (start: number, end: number, blob: FakeBlob) {
      blob.fallback = 'SWARM_STALLED'
      yield content.subarray(start, end)
    }
    proxy.client.held.set(digest, { bytes: content.length, read })
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(await proxy.metrics.text()).toContain('shoal_proxy_fallbacks_total{code="SWARM_STALLED"} 1')
    expect(proxy.records.list()[0]?.reasons).toEqual(['SWARM_STALLED'])
  })

  test('a blob that cannot be opened now costs no question to the registry', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.whyNot = new NoSwarmError('the tracker is off')
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(linesOf()).toEqual([`GET ${blobPath}`])
    expect(await proxy.metrics.text()).toContain('shoal_proxy_fallbacks_total{code="TRACKER_UNAVAILABLE"} 1')
  })

  test('a client that meets a limit to which this node adds gets its blob when the limit allows', async () => {
    let gets = 0
    proxy = await startTestProxy((request, response) => {
      const isLimited = request.method === 'GET' && ++gets === 1
      return isLimited
        ? response.writeHead(429, { 'retry-after': '1' }).end('slow down') && undefined
        : registryDoor(request, response)
    })
    const startedMs = performance.now()
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.statusCode).toBe(200)
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(performance.now() - startedMs).toBeGreaterThan(900)
    expect(linesOf()).toEqual([`HEAD ${blobPath}`, `GET ${blobPath}`, `GET ${blobPath}`])
  })

  test('an answer that is not passed on is not waited for, and read within a bound', async () => {
    let gets = 0
    let sentBytes = 0
    const ended = Promise.withResolvers<void>()
    proxy = await startTestProxy((request, response) => {
      const isLimited = request.method === 'GET' && ++gets === 1
      if (!isLimited) return registryDoor(request, response)
      response.writeHead(429, { 'retry-after': '1' })
      const chunk = Buffer.alloc(HELD_BACK_BYTES_MAX / 4)
      const timer = setInterval(() => {
        sentBytes += chunk.length
        response.write(chunk)
      }, 20)
      response
        .on('error', () => undefined)
        .on('close', () => {
          clearInterval(timer)
          ended.resolve()
        })
    })
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.statusCode).toBe(200)
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    await ended.promise
    expect(sentBytes).toBeLessThan(8 * HELD_BACK_BYTES_MAX)
  })

  test.each([
    ['asks for a minute', true, '61'],
    ['is none of this node’s doing', false, '1'],
  ])('a limit that %s is passed on', async (_what, isAsking, retryAfter) => {
    proxy = await startTestProxy((request, response) => {
      if (request.method === 'HEAD') return registryDoor(request, response)
      response.writeHead(429, { 'retry-after': retryAfter }).end('slow down')
    })
    const path = isAsking ? blobPath : '/v2/team/app/manifests/v1'
    const answer = await proxy.ask(path, { headers: { authorization } })
    expect(answer.statusCode).toBe(429)
    expect(await answer.body.text()).toBe('slow down')
  })

  test('a blob that fails before its first byte comes from the registry, and is closed', async () => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.held.set(digest, {
      bytes: content.length,
      // biome-ignore lint/correctness/useYield: it fails before it yields
      async *read() {
        throw new NoSwarmError('nobody has it')
      },
    })
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.headers['x-from']).toBe('registry')
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
    expect(proxy.client.opened[0]!.closes).toBe(1)
  })

  test.each([
    [
      'fails',
      async function* () {
        yield content.subarray(0, 100_000)
        throw new NoSwarmError('a lie')
      },
    ],
    [
      'ends early',
      async function* () {
        yield content.subarray(0, 299_999)
      },
    ],
  ])('a blob that %s in its middle never makes a complete response', async (_name, read) => {
    proxy = await startTestProxy(registryDoor)
    proxy.client.held.set(digest, { bytes: content.length, read })
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.statusCode).toBe(200)
    await expect(answer.body.arrayBuffer()).rejects.toThrow()
    await proxy.client.opened[0]!.closed
    expect(proxy.client.opened[0]!.closes).toBe(1)
  })

  test('a small blob comes from the registry', async () => {
    const small: Door = (request, response) => {
      response.writeHead(200, { 'content-length': P2P_MIN_BYTES - 1 })
      response.end(request.method === 'HEAD' ? undefined : Buffer.alloc(P2P_MIN_BYTES - 1))
    }
    proxy = await startTestProxy(small)
    const answer = await proxy.ask(blobPath)
    expect((await answer.body.arrayBuffer()).byteLength).toBe(P2P_MIN_BYTES - 1)
    expect(proxy.client.requests).toEqual([])
  })

  test('with the registry down a blob comes from the cluster where the grant stands', async () => {
    proxy = await startTestProxy(cutOff)
    proxy.client.hold(digest, content)
    proxy.client.standing = content.length
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(Buffer.from(await answer.body.arrayBuffer()).equals(content)).toBe(true)
  })

  test('a registry that could not be asked, as too much is under way here, is no registry that is down', async () => {
    const hanging = '/v2/other/app/'
    proxy = await startTestProxy((request, response) => {
      if (request.url?.startsWith(hanging)) return
      registryDoor(request, response)
    })
    proxy.client.hold(digest, content)
    proxy.client.standing = content.length
    const registry = proxy.registry.clients.get(proxy.registry.host)!
    const asked = {
      repository: 'other/app' as Repository,
      digest: digest as Digest,
      authorization: undefined,
    }
    const held = Array.from({ length: HEAD_CONNECTIONS_MAX }, () =>
      registry.headBlob(asked).catch(() => undefined),
    )
    await expect.poll(() => proxy.registry.requests.length, { timeout: 5000 }).toBe(HEAD_CONNECTIONS_MAX)
    const startedMs = performance.now()
    const answers = await Promise.all(
      [authorization, 'Bearer bad'].map((value) =>
        proxy.ask(blobPath, { headers: { authorization: value } }),
      ),
    )
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 401])
    expect(performance.now() - startedMs).toBeLessThan(5000)
    expect(proxy.client.requests).toEqual([])
    await proxy.close()
    await Promise.all(held)
  })

  test('with the registry down and no grant the answer is 502 with a code, at once', async () => {
    proxy = await startTestProxy(cutOff)
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.statusCode).toBe(502)
    expect(await codeOf(answer)).toBe('REGISTRY_UNREACHABLE')
    expect(proxy.client.requests).toEqual([])
  })
})

describe('manifests that pass', () => {
  const type = 'application/vnd.oci.image.manifest.v1+json'
  const layers = [{ mediaType: 'l', digest, size: content.length }]
  const config = { mediaType: 'c', digest: `sha256:${'0'.repeat(64)}`, size: 10 }
  const manifest = JSON.stringify({ schemaVersion: 2, config, layers: [...layers, ...layers] })

  const manifestDoor =
    (headers: Record<string, string>, body: string): Door =>
    (request: IncomingMessage, response: ServerResponse) => {
      if (request.url === '/v2/team/app/manifests/v1') response.writeHead(200, headers).end(body)
      // As registries on object stores do: present, but without a length.
      else if (request.method === 'HEAD' && request.headers.authorization === undefined) refuse(response)
      else if (request.method === 'HEAD')
        response.writeHead(307, { location: 'https://store.example/' }).end()
      else response.writeHead(200, { 'x-from': 'registry' }).end(content)
    }

  test('are not changed, and plan the blobs that Docker will ask for, each once', async () => {
    proxy = await startTestProxy(manifestDoor({ 'content-type': type }, manifest))
    const answer = await proxy.ask('/v2/team/app/manifests/v1', { headers: { authorization } })
    expect(await answer.body.text()).toBe(manifest)
    expect(proxy.client.plans).toEqual([
      {
        registry: proxy.registry.host,
        repository: 'team/app',
        credential: { scheme: 'bearer', token: 'good' },
        blobs: [{ digest, bytes: content.length }],
      },
    ])
  })

  test('give the length of a blob for which the registry answers with a redirect', async () => {
    proxy = await startTestProxy(manifestDoor({ 'content-type': type }, manifest))
    proxy.client.hold(digest, content)
    await (await proxy.ask('/v2/team/app/manifests/v1', { headers: { authorization } })).body.dump()
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.headers['x-from']).toBeUndefined()
    expect((await answer.body.arrayBuffer()).byteLength).toBe(content.length)
  })

  test('that did not pass leave a blob without a length to the registry', async () => {
    proxy = await startTestProxy(manifestDoor({ 'content-type': type }, manifest))
    proxy.client.hold(digest, content)
    const answer = await proxy.ask(blobPath, { headers: { authorization } })
    expect(answer.headers['x-from']).toBe('registry')
  })

  test.each([
    ['are indexes', { 'content-type': 'application/vnd.oci.image.index.v1+json' }, manifest],
    ['are compressed', { 'content-type': type, 'content-encoding': 'gzip' }, manifest],
    ['are not JSON', { 'content-type': type }, '{'],
    ['name odd digests', { 'content-type': type }, manifest.replaceAll('sha256:', 'md5:')],
    ['are too large', { 'content-type': type }, manifest + ' '.repeat(4 * 1024 * 1024)],
  ])('and %s pass unread', async (_name, headers, body) => {
    proxy = await startTestProxy(manifestDoor(headers as Record<string, string>, body))
    const answer = await proxy.ask('/v2/team/app/manifests/v1')
    expect(await answer.body.text()).toBe(body)
    expect(proxy.client.plans).toEqual([])
  })
})
