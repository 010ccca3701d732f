import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, expect } from 'vitest'
import { readAll, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A client whose requests mean one thing to the proxy and might mean another to the registry behind it. */
let proxy: TestProxy
afterEach(() => proxy.close())

const seen: string[] = []
const ALIVE = '/v2/alive'
/** Of its answer only the beginning comes. */
const HALF = '/v2/half'
const ANSWER = 'what the registry has'
/** For a request that another would overtake if it could. */
const SLOW_MS = 200
let unanswered = 0
let unansweredMax = 0
/** Paths of requests that were made openly; what the registry answers to any other was had by smuggling. */
let openPaths: string[] = []
const door = (request: IncomingMessage, response: ServerResponse) => {
  const { method, url = '', headers } = request
  if (url !== ALIVE) seen.push(`${method} ${url} ${headers.host}`)
  if (url !== ALIVE && !openPaths.includes(url)) loot.bytes += ANSWER.length
  if (url === HALF) {
    response.writeHead(200, { 'content-length': ANSWER.length }).write(ANSWER.slice(0, 8))
    return
  }
  unanswered += 1
  unansweredMax = Math.max(unansweredMax, unanswered)
  const answer = () => {
    unanswered -= 1
    response.writeHead(200, { 'content-length': ANSWER.length }).end(ANSWER)
  }
  request.resume().on('end', () => setTimeout(answer, url === '/v2/first' ? SLOW_MS : 0))
}

/**
 * Sends raw bytes inside an intercepted connection; `H` stands for the registry's own host.
 * @param next sent when the first bytes of an answer are here
 */
async function send(text: string, paths: string[] = [], next = ''): Promise<string> {
  seen.length = 0
  unanswered = 0
  unansweredMax = 0
  openPaths = paths
  proxy = await startTestProxy(door)
  const secure = await proxy.secure()
  // Not ended: a request must fail for what it is, not because its client went away.
  const write = (bytes: string) => secure.write(bytes.replaceAll('Host: H', `Host: ${proxy.registry.host}`))
  write(text)
  if (next) secure.once('data', () => write(next))
  const timer = setTimeout(() => secure.destroy(), PATIENCE_MS)
  const answer = await readAll(secure)
  clearTimeout(timer)
  expect((await proxy.ask(ALIVE)).statusCode).toBe(200)
  return answer
}

const loggedCodes = () => proxy.logged.map(({ code }) => code)
/** For a connection that the proxy would keep. */
const PATIENCE_MS = 5000
const HIDDEN = 'GET /v2/secret HTTP/1.1\r\nHost: H\r\n\r\n'

for (const [what, text] of [
  [
    'CL and TE',
    `POST /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  ],
  [
    'TE twice, of which one is obscure',
    `POST /v2/ HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${HIDDEN}`,
  ],
  [
    'TE behind a tab and a letter',
    `POST /v2/ HTTP/1.1\r\nHost: H\r\nTransfer-Encoding:\tchunked x\r\n\r\n0\r\n\r\n${HIDDEN}`,
  ],
  ['two lengths in one field', `POST /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length: 0, 5\r\n\r\n${HIDDEN}`],
  ['a signed length', `POST /v2/ HTTP/1.1\r\nHost: H\r\nContent-Length: +0\r\n\r\n${HIDDEN}`],
  ['two hosts', `GET /v2/ HTTP/1.1\r\nHost: H\r\nHost: other.example\r\nConnection: close\r\n\r\n`],
  ['a bare CR in a header', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nX: a\rHost: other\r\nConnection: close\r\n\r\n'],
  ['a NUL in a header', 'GET /v2/ HTTP/1.1\r\nHost: H\r\nX: a\0b\r\nConnection: close\r\n\r\n'],
  ['a raw line end in the path', 'GET /v2/a\r\nHost: other HTTP/1.1\r\nHost: H\r\n\r\n'],
  ['a space in the path', 'GET /v2/a b HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n'],
  [
    'absolute-form to another host',
    'GET https://other.example/v2/ HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n',
  ],
  ['CONNECT inside the connection', 'CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: H\r\n\r\n'],
] as const) {
  attackTest(`${what}: the registry sees nothing`, async () => {
    const answer = await send(text)
    expect(answer).not.toMatch(/HTTP\/1\.1 2/)
    expect(seen).toEqual([])
    expect(loggedCodes()).toContain(
      what === 'a raw line end in the path' ? 'MISDIRECTED_REQUEST' : 'PROXY_REQUEST',
    )
  })
}

for (const host of [
  'other.example',
  '127.0.0.1',
  'localhost:1',
  'localhost',
  '',
  'localhost, other.example',
]) {
  attackTest(`a Host of ${JSON.stringify(host)}, which is not the CONNECT target, is refused`, async () => {
    const answer = await send(`GET /v2/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 (421 [\s\S]*MISDIRECTED_REQUEST|400 )/)
    expect(seen).toEqual([])
    expect(loggedCodes()).toContain(
      answer.startsWith('HTTP/1.1 421') ? 'MISDIRECTED_REQUEST' : 'PROXY_REQUEST',
    )
  })
}

attackTest(
  'an encoded line end in a path stays encoded: it makes no header and no second request',
  async () => {
    const path = '/v2/x%0d%0aHost:%20other%0d%0a%0d%0aGET%20/v2/secret'
    await send(`GET ${path} HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n`, [path])
    expect(seen).toEqual([`GET ${path} ${proxy.registry.host}`])
  },
)

attackTest('requests in a row on one connection stay as many as they are, and none overtakes', async () => {
  const first = 'POST /v2/first HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\n\r\nGET /'
  const second = 'GET /v2/second HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n'
  const answer = await send(first + second, ['/v2/first', '/v2/second'])
  const { host } = proxy.registry
  expect(seen).toEqual([`POST /v2/first ${host}`, `GET /v2/second ${host}`])
  expect(unansweredMax).toBe(1)
  expect(answer.split(ANSWER)).toHaveLength(3)
})

attackTest('a refusal is no part of an answer that is half sent: the connection is cut', async () => {
  const first = `GET ${HALF} HTTP/1.1\r\nHost: H\r\n\r\n`
  const tunnel = 'CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: H\r\n\r\n'
  const answer = await send(first, [HALF], tunnel)
  expect(answer).toMatch(/^HTTP\/1\.1 200 [\s\S]*what the$/)
  expect(loggedCodes()).toContain('PROXY_REQUEST')
})

attackTest(
  'a flood of requests in a row ends the connection, and few of them reach the registry',
  async () => {
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: H\r\n\r\n`
    const [first, second] = ['/v2/first', '/v2/second']
    const beganAtMs = performance.now()
    // Cut in the middle: an end, or a reset.
    await send(get(first) + get(second).repeat(1000), [first, second]).catch(() => undefined)
    expect(performance.now() - beganAtMs).toBeLessThan(PATIENCE_MS)
    expect(seen.length).toBeLessThan(3)
    expect((await proxy.ask(ALIVE)).statusCode).toBe(200)
    expect(loggedCodes().filter((code) => code === 'PROXY_REQUEST')).toHaveLength(1)
  },
)
