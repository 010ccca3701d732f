import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import type { Pausing } from '../../proxy/pause.ts'
import type { Door } from '../core/test-registry.ts'
import { openTunnel, readAll, startTestProxy, type TestProxy } from './test-proxy.ts'

const content = randomBytes(300_000)
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
const blobPath = `/v2/team/app/blobs/${digest}`
const authorization = 'Bearer good'

const door: Door = (request, response) => {
  if (request.headers.authorization !== authorization) return void response.writeHead(401).end()
  response.writeHead(200, { 'content-length': content.length, 'x-from': 'registry' })
  response.end(request.method === 'HEAD' ? undefined : content)
}

class Switch implements Pausing {
  isPaused = false
  readonly #begins: (() => void)[] = []

  whenPaused(begin: () => void): void {
    this.#begins.push(begin)
  }

  set(isPaused: boolean): void {
    this.isPaused = isPaused
    if (isPaused) for (const begin of this.#begins) begin()
  }
}

let proxy: TestProxy
let pause: Switch
afterEach(() => proxy.close())

async function start(): Promise<void> {
  pause = new Switch()
  proxy = await startTestProxy(door, { pause, mirrorPlaces: [{ socket: { host: '127.0.0.1', port: 0 } }] })
  proxy.client.hold(digest, content)
}

const askBlob = () => proxy.ask(blobPath, { headers: { authorization } })
/** Whose certificate a client sees behind CONNECT. */
async function isTunnelled(): Promise<boolean> {
  const { socket } = await openTunnel(proxy.port, proxy.registry.host)
  const secure = connectTls({ socket, servername: 'localhost', ca: proxy.registry.authority.certificatePem })
  try {
    return await once(secure, 'secureConnect').then(
      () => true,
      () => false,
    )
  } finally {
    secure.destroy()
  }
}

describe('a proxy that is paused', () => {
  test('tunnels every connection from then on, and intercepts again once it is over', async () => {
    await start()
    expect(await isTunnelled()).toBe(false)
    pause.set(true)
    expect(await isTunnelled()).toBe(true)
    expect(await proxy.metrics.text()).toContain('connects_total{outcome="tunnelled_paused"} 1')
    pause.set(false)
    expect(await isTunnelled()).toBe(false)
  })

  test('ends connections that wait for a next request', async () => {
    await start()
    const idle = await proxy.secure()
    idle.write(`HEAD ${blobPath} HTTP/1.1\r\nHost: ${proxy.registry.host}\r\n\r\n`)
    await once(idle, 'data')
    pause.set(true)
    expect(await readAll(idle)).toBe('')
  })

  test('lets an answer from the swarm end, and passes the next request of the connection on', async () => {
    await start()
    const half = Promise.withResolvers<void>()
    proxy.client.held.set(digest, {
      bytes: content.length,
      async *read(from, to) {
        yield content.subarray(from, 1000)
        await half.promise
        yield content.subarray(1000, to)
      },
    })
    const line = `GET ${blobPath} HTTP/1.1\r\nHost: ${proxy.registry.host}\r\nAuthorization: ${authorization}\r\n\r\n`
    const secure = await proxy.secure()
    // Two requests at once, of which the second waits for the answer to the first.
    secure.write(line + line)
    await once(secure, 'data')
    pause.set(true)
    half.resolve()
    const rest = await readAll(secure)
    expect(rest.match(/HTTP\/1\.1 200/g)).toHaveLength(1)
    expect(rest).toMatch(/x-from: registry/i)
    expect(proxy.client.opened).toHaveLength(1)
    expect(await proxy.metrics.text()).toContain('requests_total{outcome="registry_paused"} 1')
    const [pull] = proxy.records.list()
    expect(pull?.reasons).toEqual(['PAUSED'])
  })

  test('lets the runtime go past the mirror at once', async () => {
    await start()
    pause.set(true)
    const { port } = proxy.mirrorSockets[0] as { port: number }
    const answer = await fetch(`http://127.0.0.1:${port}${blobPath}?ns=${proxy.registry.host}`)
    expect([answer.status, ((await answer.json()) as { errors: [{ code: string }] }).errors[0].code]).toEqual(
      [503, 'MIRROR_UNUSABLE'],
    )
    expect(proxy.registry.requests.filter(({ line }) => line.includes(digest))).toEqual([])
    pause.set(false)
    expect((await askBlob()).statusCode).toBe(200)
  })
})
