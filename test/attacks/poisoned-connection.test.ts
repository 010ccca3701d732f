import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer, type Server } from 'node:tls'
import { afterAll, beforeAll, beforeEach, expect } from 'vitest'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import { registryConfig } from '../../core/registry-config.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { askThrough, openTunnel, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/**
 * A registry, or a server before it, that takes the body of a request for the next request (RFC 9112 §11.2), and a
 * local user who puts a request there: its answer must reach nobody else.
 */
const SMUGGLED = '/v2/smuggled'
/** The smuggled request is answered late, when somebody else may be waiting on the connection. */
const LATE_MS = 200

let server: Server
let host: string
let registries: RegistryClients
let proxy: TestProxy
let caPem: string
let folder: string
/** Of each request that the server believes to have got: its connection and its line. */
let seen: { connection: number; line: string }[] = []

beforeAll(async () => {
  const authority = await makeAuthority({ commonName: 'test authority', validForSeconds: 600 })
  const leaf = await issueForLocalhost(authority, 600)
  server = createServer({ cert: leaf.certificatePem, key: leaf.privateKeyPem }).listen(0, 'localhost')
  let connections = 0
  server.on('secureConnection', (socket) => {
    connections += 1
    readWithoutBodies(socket, connections)
  })
  await once(server, 'listening')
  host = `localhost:${(server.address() as AddressInfo).port}`
  folder = mkdtempSync(join(tmpdir(), 'shoal-poisoned-'))
  writeFileSync(join(folder, 'ca.pem'), authority.certificatePem)
  registries = openRegistries([registryConfig.parse({ host, caFile: join(folder, 'ca.pem') })])
  const shown = await ProxyAuthority.make([...registries.keys()])
  caPem = shown.certificatesPem
  proxy = await startTestProxy(() => {}, { registries, authority: shown })
})

beforeEach(() => {
  seen = []
})

afterAll(async () => {
  await proxy?.close()
  for (const registry of registries?.values() ?? []) await registry.close()
  server?.close()
  rmSync(folder, { recursive: true })
})

/** Every head is a request without a body, and is answered with its own line, in order. */
function readWithoutBodies(socket: import('node:tls').TLSSocket, connection: number): void {
  let text = ''
  let answered = Promise.resolve()
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      // What precedes is the end of a chunk, or its length.
      const line = /(?:^|\r\n)([A-Z-]+ \/\S* HTTP\/1\.1)\r\n/.exec(text.slice(0, end + 2))?.[1]
      text = text.slice(end + 4)
      if (line === undefined) continue
      seen.push({ connection, line })
      const body = line.startsWith('HEAD') ? '' : line
      const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${line.length}\r\n\r\n${body}`
      answered = answered
        .then(() => new Promise((resolve) => setTimeout(resolve, line.includes(SMUGGLED) ? LATE_MS : 0)))
        .then(() => void socket.write(answer))
    }
  })
}

const via = () => ({ port: proxy.port, host, caPem })

/** Sends raw bytes inside an intercepted connection, and waits for the beginning of an answer, or its end. */
async function send(text: string): Promise<void> {
  const { socket } = await openTunnel(proxy.port, host)
  const secure = connect({ socket, servername: 'localhost', ca: caPem })
  await once(secure, 'secureConnect')
  secure.on('error', () => undefined)
  secure.write(text)
  await Promise.race([
    once(secure, 'data'),
    once(secure, 'close'),
    new Promise((resolve) => setTimeout(resolve, 1500)),
  ])
  await new Promise((resolve) => setTimeout(resolve, LATE_MS / 4))
}

/** A GET, or a push, in a connection of its own. */
async function askAsOther(line: string): Promise<string> {
  const [method = '', path = ''] = line.split(' ')
  const body = method === 'PUT' ? 'pushed' : ''
  return (await askThrough(via(), { method, path, body })).body.toString()
}

/** Others ask at once: each must get its own answer, and none on a connection that carried the smuggled request. */
async function expectOthersUnharmed(): Promise<void> {
  const lines = [0, 1, 2, 3].flatMap((index) => ['GET', 'PUT'].map((method) => `${method} /v2/other${index}`))
  const bodies = await Promise.all(lines.map(askAsOther))
  for (const [index, body] of bodies.entries()) {
    if (body !== `${lines[index]} HTTP/1.1`) loot.bytes += Math.max(1, body.length)
  }
  const poisoned = new Set(
    seen.filter(({ line }) => line.includes(SMUGGLED)).map(({ connection }) => connection),
  )
  const others = seen.filter(({ line }) => line.includes('/v2/other'))
  expect(others).toHaveLength(lines.length)
  expect(others.filter(({ connection }) => poisoned.has(connection))).toEqual([])
}

const inner = () => `GET ${SMUGGLED} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
const hex = (text: string) => text.length.toString(16)

controlTest('the server does take a body for a request, and answers it', async () => {
  await send(
    `POST /v2/first HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${inner().length}\r\n\r\n${inner()}`,
  )
  await expect.poll(() => seen.map(({ line }) => line)).toContain(`GET ${SMUGGLED} HTTP/1.1`)
  loot.bytes += 1
})

for (const method of [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'M-SEARCH',
]) {
  attackTest(`a request in the body of ${method} with a length`, async () => {
    const head = `${method} /v2/first HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${inner().length}\r\n\r\n`
    await send(head + inner())
    await expectOthersUnharmed()
  })

  attackTest(`a request in a chunk of the body of ${method}`, async () => {
    const head = `${method} /v2/first HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n`
    await send(`${head}${hex(inner())}\r\n${inner()}\r\n0\r\n\r\n`)
    await expectOthersUnharmed()
  })
}

for (const [what, headers] of [
  ['Expect: 100-continue', 'Expect: 100-continue\r\n'],
  ['an expectation of its own', 'Expect: poison\r\n'],
  [
    'Upgrade to HTTP/2',
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n',
  ],
  ['Upgrade to WebSocket', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'],
  ['its length named as a field of the connection', 'Connection: content-length\r\n'],
  ['a wish to keep the connection', 'Connection: keep-alive\r\nKeep-Alive: timeout=600, max=1000\r\n'],
] as const) {
  attackTest(`a request in the body of GET with ${what}`, async () => {
    const length = `Content-Length: ${inner().length}\r\n`
    await send(`GET /v2/first HTTP/1.1\r\nHost: ${host}\r\n${headers}${length}\r\n${inner()}`)
    await expectOthersUnharmed()
  })
}

attackTest('a request in the trailers of a chunked body', async () => {
  const head = `POST /v2/first HTTP/1.1\r\nHost: ${host}\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n`
  await send(`${head}1\r\na\r\n0\r\nX: ${inner()}`)
  await expectOthersUnharmed()
})

attackTest('a body that never comes holds the connection of nobody else', async () => {
  await send(`GET /v2/first HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 500\r\n\r\n`)
  await expectOthersUnharmed()
})
