import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { codeOf, readAll, startTestProxy, type TestProxy } from './test-proxy.ts'

let proxy: TestProxy
afterEach(() => proxy.close())

const MEBIBYTE = 1024 * 1024

/** Reads a body to its end. */
async function digestOf(request: IncomingMessage): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    hash.update(chunk)
  }
  return { bytes, sha256: hash.digest('hex') }
}

describe('a push', () => {
  test('of 100 MB in chunks arrives as it was sent, in bounded memory', async () => {
    const arrived = createHash('sha256')
    const sent = createHash('sha256')
    let [sentBytes, arrivedBytes, betweenBytesMost] = [0, 0, 0]
    proxy = await startTestProxy(async (request, response) => {
      for await (const chunk of request) {
        arrivedBytes += arrived.update(chunk) && chunk.length
      }
      const framing = request.headers['transfer-encoding']
      response
        .writeHead(202, { location: '/v2/team/app/blobs/uploads/1?_state=x', 'x-framing': framing })
        .end()
    })
    const body = async function* () {
      for (; sentBytes < 100 * MEBIBYTE; sentBytes += MEBIBYTE) {
        betweenBytesMost = Math.max(betweenBytesMost, sentBytes - arrivedBytes)
        const piece = Buffer.alloc(MEBIBYTE, String(sentBytes))
        sent.update(piece)
        yield piece
      }
    }
    const answer = await proxy.ask('/v2/team/app/blobs/uploads/1', {
      method: 'PATCH',
      body: Readable.from(body(), { highWaterMark: 1 }),
    })
    expect(answer.statusCode).toBe(202)
    expect(answer.headers).toMatchObject({
      location: '/v2/team/app/blobs/uploads/1?_state=x',
      'x-framing': 'chunked',
    })
    expect(arrived.digest('hex')).toBe(sent.digest('hex'))
    // Kernel buffers included.
    expect(betweenBytesMost).toBeLessThan(16 * MEBIBYTE)
  })

  test('waits where the registry is slow to read', async () => {
    proxy = await startTestProxy(() => {})
    let sentBytes = 0
    const body = new Readable({
      read() {
        sentBytes += MEBIBYTE
        this.push(sentBytes > 200 * MEBIBYTE ? null : Buffer.alloc(MEBIBYTE))
      },
    })
    const gone = new AbortController()
    const answer = proxy.ask('/v2/x', { method: 'PUT', body, signal: gone.signal })
    await expect.poll(() => proxy.registry.requests.length).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(sentBytes).toBeLessThan(32 * MEBIBYTE)
    gone.abort()
    await expect(answer).rejects.toThrow()
  })

  test('with Expect: 100-continue is told to go on, and the registry gets the body', async () => {
    proxy = await startTestProxy(async (request, response) => {
      response
        .writeHead(201)
        .end(JSON.stringify({ ...(await digestOf(request)), expect: request.headers.expect }))
    })
    const secure = await proxy.secure()
    const host = proxy.registry.host
    secure.write(
      `PUT /v2/x HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
    )
    const [go] = await once(secure, 'data')
    expect(go.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    secure.write('hello')
    const text = await readAll(secure)
    expect(text).toMatch(/^HTTP\/1\.1 201 /)
    expect(text).toContain('"bytes":5')
    expect(text).not.toContain('expect')
  })

  test('that the registry refuses before its end gets the refusal', async () => {
    proxy = await startTestProxy(alwaysStatus(401, { 'www-authenticate': 'Bearer realm="r"' }))
    const body = Readable.from([Buffer.alloc(8 * MEBIBYTE)])
    const answer = await proxy.ask('/v2/x', { method: 'PUT', body })
    expect(answer.statusCode).toBe(401)
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="r"')
  })

  test('that the client breaks off is broken off at the registry', async () => {
    const broken = Promise.withResolvers<void>()
    proxy = await startTestProxy((request) => {
      request.on('data', () => {})
      request.on('close', () => !request.complete && broken.resolve())
    })
    const secure = await proxy.secure()
    secure.write(
      `PUT /v2/x HTTP/1.1\r\nHost: ${proxy.registry.host}\r\nContent-Length: 1000\r\n\r\nonly this`,
    )
    await expect.poll(() => proxy.registry.requests.length).toBe(1)
    secure.destroy()
    await broken.promise
  })
})

describe('what passes', () => {
  test('keeps status, reason, header order and spelling, repeated headers, Host and the raw path', async () => {
    let seen: IncomingMessage | undefined
    proxy = await startTestProxy((request, response) => {
      seen = request
      response.sendDate = false
      response.writeHead(418, 'Short And Stout', [
        'X-B',
        '1',
        'x-a',
        '2',
        'X-B',
        '3',
        'Set-Cookie',
        'a',
        'Set-Cookie',
        'b',
      ])
      response.end('tea')
    })
    const path = '/v2/a%2Fb/./c/../tags/list?n=1&last=%7e'
    const headers = ['X-One', '1', 'x-two', '2', 'X-One', '3', 'User-Agent', 'docker/1']
    const answer = await proxy.ask(path, { headers, responseHeaders: 'raw' })
    expect(answer.statusCode).toBe(418)
    expect(answer.statusText).toBe('Short And Stout')
    expect((answer.headers as unknown as Buffer[]).map(String).slice(0, 10)).toEqual([
      'X-B',
      '1',
      'x-a',
      '2',
      'X-B',
      '3',
      'Set-Cookie',
      'a',
      'Set-Cookie',
      'b',
    ])
    expect(await answer.body.text()).toBe('tea')
    expect(seen!.url).toBe(path)
    expect(seen!.headers.host).toBe(proxy.registry.host)
    expect(seen!.rawHeaders.filter((text) => /^(x-|[123]$)/i.test(text))).toEqual(headers.slice(0, 6))
  })

  test('leaves behind what belongs to one connection only', async () => {
    let seen: IncomingMessage | undefined
    proxy = await startTestProxy((request, response) => {
      seen = request
      response
        .writeHead(200, { connection: 'x-hop', 'x-hop': '1', 'keep-alive': 'timeout=1', 'x-end': '2' })
        .end()
    })
    const secure = await proxy.secure()
    secure.write(
      `GET /v2/ HTTP/1.1\r\nHost: ${proxy.registry.host}\r\nConnection: close, x-mine, authorization\r\nX-Mine: 1\r\n` +
        'TE: trailers\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nAuthorization: Basic eA==\r\n\r\n',
    )
    const text = await readAll(secure)
    expect(text).toContain('x-end: 2')
    expect(text).not.toContain('x-hop')
    const names = Object.keys(seen!.headers)
    expect(names).not.toEqual(expect.arrayContaining(['x-mine']))
    expect(names.some((name) => ['te', 'upgrade', 'proxy-authorization'].includes(name))).toBe(false)
    // A client must not be able to send a request for a blob without the credential that it shows us.
    expect(seen!.headers.authorization).toBe('Basic eA==')
  })

  test('comes in both directions as it is made, not when it is complete', async () => {
    const finish = Promise.withResolvers<void>()
    proxy = await startTestProxy(async (_request, response) => {
      response.writeHead(200)
      response.write('first')
      await finish.promise
      response.end('last')
    })
    const answer = await proxy.ask('/v2/_catalog')
    const [first] = await once(answer.body, 'data')
    expect(first.toString()).toBe('first')
    finish.resolve()
    const [last] = await once(answer.body, 'data')
    expect(last.toString()).toBe('last')
  })

  test('is fetched no faster than the client takes it', async () => {
    let madeBytes = 0
    proxy = await startTestProxy((_request, response) => {
      const body = new Readable({
        read() {
          madeBytes += MEBIBYTE
          this.push(madeBytes > 200 * MEBIBYTE ? null : Buffer.alloc(MEBIBYTE))
        },
      })
      body.pipe(response.writeHead(200))
    })
    const secure = await proxy.secure()
    secure.pause()
    secure.write(`GET /v2/_catalog HTTP/1.1\r\nHost: ${proxy.registry.host}\r\n\r\n`)
    await expect.poll(() => madeBytes).toBeGreaterThan(0)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(madeBytes).toBeLessThan(40 * MEBIBYTE)
    secure.destroy()
  })

  test('is cut short for the client when the registry cuts it short', async () => {
    proxy = await startTestProxy((_request, response) => {
      response.writeHead(200)
      response.write('half', () => response.destroy())
    })
    const answer = await proxy.ask('/v2/_catalog')
    await expect(answer.body.text()).rejects.toThrow()
  })

  test('is not fetched on when the client has gone', async () => {
    const gone = Promise.withResolvers<void>()
    proxy = await startTestProxy((_request, response) => {
      response.writeHead(200)
      response.write('half')
      response.on('close', gone.resolve)
    })
    const secure = await proxy.secure()
    secure.write(`GET /v2/_catalog HTTP/1.1\r\nHost: ${proxy.registry.host}\r\n\r\n`)
    await once(secure, 'data')
    secure.destroy()
    await gone.promise
  })

  test('is sent again when a kept connection turns out to be dead', async () => {
    let isFirst = true
    proxy = await startTestProxy((request, response) => {
      if (isFirst) request.socket.destroy()
      else response.end('alive')
      isFirst = false
    })
    expect(await (await proxy.ask('/v2/')).body.text()).toBe('alive')
  })

  test('takes HEAD answers with their length', async () => {
    proxy = await startTestProxy(alwaysStatus(200, { 'content-length': 12345 }))
    const answer = await proxy.ask('/v2/team/app/manifests/v1', { method: 'HEAD' })
    expect(answer.headers['content-length']).toBe('12345')
  })
})

describe('a registry that does not answer', () => {
  test('is a 502 in the form of OCI errors, at once', async () => {
    proxy = await startTestProxy((request) => {
      request.socket.destroy()
    })
    const answer = await proxy.ask('/v2/', { method: 'POST' })
    expect(answer.statusCode).toBe(502)
    expect(answer.statusText).toBe('Bad Gateway (REGISTRY_UNREACHABLE)')
    expect(await codeOf(answer)).toBe('REGISTRY_UNREACHABLE')
  })

  test('in time is a 504', async () => {
    proxy = await startTestProxy(
      () => {},
      ({ clients }) => {
        const [[host, registry]] = [...clients] as [[RegistryHost, RegistryClient]]
        const impatient = registry.passThrough.compose((dispatch) => (options, handler) => {
          return dispatch({ ...options, headersTimeout: 100 }, handler)
        })
        return {
          registries: new Map([
            [host, { ...registry, host, passThrough: impatient, verify: async () => {} }],
          ]),
        }
      },
    )
    const answer = await proxy.ask('/v2/')
    expect(answer.statusCode).toBe(504)
    expect(await codeOf(answer)).toBe('UPSTREAM_TIMEOUT')
  })
})

describe('requests that could be read in two ways', () => {
  test.each([
    [
      'two framings',
      'POST /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'POST /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello'],
    ['a bare line feed', 'GET /v2/ HTTP/1.1\nHost: H\n\n'],
    ['a bare line feed in a header', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nX-A: 1\nX-B: 2\r\n\r\n'],
    ['a space before the colon', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length : 5\r\n\r\nhello'],
    ['a folded header', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nX-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n'],
    ['an unknown coding', 'POST /v2/ HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['an odd chunk length', 'POST /v2/ HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n'],
    ['two hosts', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nHost: other\r\nConnection: close\r\n\r\n'],
    ['no host', 'GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['an absolute target', 'GET https://other/v2/ HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n'],
    ['headers without end', `GET /v2/ HTTP/1.1\r\nHost: H\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`],
  ])('because of %s are refused, and nothing of them reaches the registry', async (_name, text) => {
    proxy = await startTestProxy(alwaysStatus(200))
    const secure = await proxy.secure()
    secure.write(text.replaceAll('Host: H', `Host: ${proxy.registry.host}`))
    expect(await readAll(secure)).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(proxy.registry.requests.filter(({ line }) => !line.startsWith('POST /v2/'))).toEqual([])
  })

  test('because they name another host than their connection are a 421', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const answer = await proxy.ask('/v2/', { headers: { host: 'other.example' } })
    expect(answer.statusCode).toBe(421)
    expect(await codeOf(answer)).toBe('MISDIRECTED_REQUEST')
    expect(proxy.registry.requests).toEqual([])
  })
})

describe('a plain http:// request', () => {
  test('is passed on in both directions, to the host of its target', async () => {
    const server = createHttpServer(async (request, response) => {
      response.end(
        `${request.method} ${request.url} ${request.headers.host} ${(await digestOf(request)).bytes}`,
      )
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const target = `localhost:${(server.address() as AddressInfo).port}`
    proxy = await startTestProxy(alwaysStatus(200))
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write(
      `POST http://${target}/a%2Fb?c HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc`,
    )
    expect(await readAll(socket)).toMatch(new RegExp(`\r\n\r\n.*POST /a%2Fb\\?c ${target} 3`, 's'))
    server.close()
  })

  test('to a host that does not answer is a 502', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    proxy = await startTestProxy(alwaysStatus(200))
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 502 [\s\S]*TARGET_UNREACHABLE/)
  })

  test('that takes the proxy for a web server is a 400 that says what it is', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 400 [\s\S]*this is a proxy/)
  })
})
