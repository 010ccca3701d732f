import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import net, { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { DOCKER_HUB } from '../../core/repository.ts'
import { nodeConfig } from '../../node/config.ts'
import { type MirrorPlace, parseMirrorPlaces } from '../../proxy/mirror-place.ts'
import { MirrorRefusals, REFUSAL_SETTLES_MS } from '../../proxy/mirror-refusals.ts'
import type { ProxyOptions } from '../../proxy/proxy.ts'
import type { Door, TestRegistry } from '../core/test-registry.ts'
import { openTunnel, readAll, startTestProxy, type TestProxy } from './test-proxy.ts'

const content = randomBytes(300_000)
const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
const blobPath = `/v2/team/app/blobs/${digest}`
const authorization = 'Bearer good'
const LOOPBACK: MirrorPlace = { socket: { host: '127.0.0.1', port: 0 } }

let proxy: TestProxy | undefined
let folder: string
const servers: Server[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-mirror-'))
})
afterEach(async () => {
  await proxy?.close()
  proxy = undefined
  for (const server of servers.splice(0)) server.close()
  rmSync(folder, { recursive: true })
})

/** A private registry with one blob and its own way of answering the rest. */
const registryDoor: Door = (request, response) => {
  if (request.headers.authorization !== authorization) {
    response.writeHead(401, {
      'www-authenticate': `Bearer realm="https://${request.headers.host}/token",service="registry"`,
      'x-host': request.headers.host,
    })
    response.end('who are you')
    return
  }
  if (request.url === '/v2/moved/blobs/1') return void response.writeHead(307, { location: '/there?a' }).end()
  if (request.url !== blobPath) return void response.writeHead(404).end('not here')
  response.writeHead(200, { 'content-length': content.length })
  response.end(request.method === 'HEAD' ? undefined : content)
}

const start = async (
  places: MirrorPlace[] = [LOOPBACK],
  changes: (registry: TestRegistry) => Partial<ProxyOptions> = () => ({}),
) => {
  proxy = await startTestProxy(registryDoor, (registry) => ({
    mirrorPlaces: places,
    ...changes(registry),
  }))
  return proxy
}

/** A socket that is bound and that nobody accepts on, as a guard or a service manager hands it over. */
function boundAt(host: string): { fd: number } {
  const { _createServerHandle: bind } = net as unknown as {
    _createServerHandle: (host: string, port: number, family: 4) => { fd: number }
  }
  const handle = bind(host, 0, 4)
  handles.push(handle)
  return handle
}
/** Without a reference they would be closed. */
const handles: object[] = []

interface Asked {
  headers?: Record<string, string>
  method?: string
  place?: number
  socketPath?: string
}

async function ask(path: string, { headers = {}, method = 'GET', place = 0, socketPath }: Asked = {}) {
  const socket = proxy!.mirrorSockets[place]!
  const to = socketPath === undefined ? socket : { socketPath }
  const asked = httpRequest({ ...to, path, method, headers, agent: false }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const body = Buffer.concat(await answer.toArray())
  return { status: answer.statusCode, headers: answer.headers, body }
}

const codeOf = ({ body }: { body: Buffer }) => JSON.parse(body.toString()).errors[0].code
const ns = () => `ns=${encodeURIComponent(proxy!.registry.host)}`
const linesOf = () => proxy!.registry.requests.map(({ line }) => line)

describe('a pull at the mirror', () => {
  test('gets a blob from the swarm once the registry has accepted its own credential, asked without ns', async () => {
    const { client, registry } = await start()
    client.hold(digest, content)
    const { status, body } = await ask(`${blobPath}?${ns()}`, { headers: { authorization } })
    expect([status, body.equals(content)]).toEqual([200, true])
    expect(linesOf()).toEqual([`HEAD ${blobPath}`])
    expect(client.requests[0]).toMatchObject({
      registry: registry.host,
      repository: 'team/app',
      credential: { scheme: 'bearer', token: 'good' },
    })
  })

  test('gets nothing of what this node holds without a credential that the registry accepts', async () => {
    const { client } = await start()
    client.hold(digest, content)
    for (const headers of [{}, { authorization: 'Bearer bad' }]) {
      const { status, body } = await ask(`${blobPath}?${ns()}`, { headers })
      expect([status, body.toString()]).toEqual([401, 'who are you'])
    }
    expect(client.opened).toEqual([])
  })

  test('is vouched for as inside an intercepted connection when the registry is silent', async () => {
    const { client, registry } = await start()
    client.hold(digest, content)
    client.standing = content.length
    registry.door = (request) => void request.socket.destroy()
    const { status, body } = await ask(`${blobPath}?${ns()}`, { headers: { authorization } })
    expect([status, body.equals(content)]).toEqual([200, true])
  })

  test('is told where the registry gives tokens, as the registry says it to its own host', async () => {
    const { registry } = await start()
    const { status, headers } = await ask(`/v2/?${ns()}`)
    expect(status).toBe(401)
    expect(headers['www-authenticate']).toBe(
      `Bearer realm="https://${registry.host}/token",service="registry"`,
    )
    expect(headers['x-host']).toBe(registry.host)
  })

  test('is sent on to the registry by a relative redirect, and not to the mirror', async () => {
    const { registry } = await start()
    const { status, headers } = await ask(`/v2/moved/blobs/1?${ns()}`, { headers: { authorization } })
    expect([status, headers.location]).toEqual([307, `https://${registry.host}/there?a`])
  })

  test.each([
    [`/v2/team/app/tags/list?n=5&NS&last=a%2Fb`, '/v2/team/app/tags/list?n=5&last=a%2Fb'],
    ['/v2/team%2Fapp/manifests/v1?NS', '/v2/team%2Fapp/manifests/v1'],
    ['/v2?NS', '/v2'],
  ])('of %s asks the registry for %s, as it was written', async (written, asked) => {
    await start()
    await ask(written.replace('NS', ns()))
    expect(linesOf()).toEqual([`GET ${asked}`])
  })

  test('shares the acceptance with the proxy: one question for both', async () => {
    const { client } = await start()
    client.hold(digest, content)
    await (await proxy!.ask(blobPath, { headers: { authorization } })).body.dump()
    await ask(`${blobPath}?${ns()}`, { headers: { authorization } })
    expect(linesOf()).toEqual([`HEAD ${blobPath}`])
  })

  test('that the registry does not answer fails soon, so that the runtime goes on', async () => {
    const { registry } = await start()
    registry.door = (request) => void request.socket.destroy()
    expect((await ask(`/v2/team/app/manifests/v1?${ns()}`)).status).toBe(502)
  })

  test('of a registry that this node cannot use is left to the runtime', async () => {
    await start([LOOPBACK], ({ clients }) => {
      const failure = Object.assign(new Error('not valid'), { code: 'CERT_HAS_EXPIRED' })
      for (const client of clients.values()) client.verify = () => Promise.reject(failure)
      return {}
    })
    const answer = await ask(`/v2/team/app/manifests/v1?${ns()}`)
    expect([answer.status, codeOf(answer)]).toEqual([503, 'MIRROR_UNUSABLE'])
    expect(linesOf()).toEqual([])
  })

  test("of a registry that knows this machine by root's certificate is for root alone", async () => {
    let uid: number | undefined = 1000
    const owners = { userOf: async () => uid, ownerOf: async () => undefined }
    await start([LOOPBACK], () => ({ owners }))
    const [registry] = proxy!.registry.clients.values()
    Object.defineProperty(registry!, 'hasIdentity', { value: true })
    for (const other of [1000, undefined]) {
      uid = other
      expect(codeOf(await ask(`/v2/?${ns()}`))).toBe('MIRROR_UNUSABLE')
    }
    uid = 0
    expect((await ask(`/v2/?${ns()}`)).status).toBe(401)
  })
})

describe('the mirror stands for', () => {
  test.each(['ns=other.example', 'ns=', 'ns=..%2F', 'ns=%zz', 'ns=169.254.169.254'])(
    'no registry that is not configured: %s is a 404, and nothing is asked',
    async (query) => {
      await start()
      const answer = await ask(`/v2/team/app/manifests/v1?${query}`)
      expect([answer.status, codeOf(answer)]).toEqual([404, 'MIRROR_TARGET'])
      expect(linesOf()).toEqual([])
    },
  )

  test('nothing but the API', async () => {
    await start()
    for (const path of ['/', '/token', '/v1/x', '/v2x', '/V2/x'])
      expect([path, (await ask(`${path}?${ns()}`)).status]).toEqual([path, 404])
    expect(linesOf()).toEqual([])
  })

  test('Docker Hub without ns, also by its other names', async () => {
    await start([LOOPBACK], (registry) => ({
      registries: new Map([[DOCKER_HUB, registry.clients.get(registry.host)!]]),
    }))
    for (const query of ['', '?ns=docker.io', '?ns=registry-1.docker.io'])
      expect((await ask(`/v2/library/app/manifests/v1${query}`)).status).toBe(401)
    expect(new Set(linesOf())).toEqual(new Set(['GET /v2/library/app/manifests/v1']))
  })

  test('nobody without ns where Docker Hub is not configured', async () => {
    await start()
    expect(codeOf(await ask('/v2/library/app/manifests/v1'))).toBe('MIRROR_TARGET')
  })

  test('the registry of its listener without ns, and for no other one', async () => {
    proxy = await startTestProxy(registryDoor, (registry) => ({
      mirrorPlaces: [LOOPBACK, { ...LOOPBACK, registry: registry.host }],
    }))
    expect((await ask('/v2/', { place: 1 })).status).toBe(401)
    expect((await ask(`/v2/?${ns()}`, { place: 1 })).status).toBe(401)
    expect(codeOf(await ask('/v2/?ns=docker.io', { place: 1 }))).toBe('MIRROR_TARGET')
    expect(codeOf(await ask('/v2/', { place: 0 }))).toBe('MIRROR_TARGET')
  })
})

describe('the mirror refuses', () => {
  test.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('%s', async (method) => {
    await start()
    const answer = await ask(`/v2/team/app/blobs/uploads/?${ns()}`, { method })
    expect([answer.status, codeOf(answer)]).toEqual([405, 'MIRROR_METHOD'])
    expect(linesOf()).toEqual([])
  })

  test.each([
    { host: 'evil.example' },
    { host: 'evil.example:577' },
    { host: '127.0.0.1.evil.example' },
    { host: 'localhost:577', origin: 'https://evil.example' },
    { host: 'localhost:577', 'sec-fetch-site': 'cross-site' },
  ])('what a page in a browser asks: %j', async (headers) => {
    await start()
    const answer = await ask(`/v2/?${ns()}`, { headers: headers as Record<string, string> })
    expect([answer.status, codeOf(answer)]).toEqual([403, 'MIRROR_CALLER'])
    expect(linesOf()).toEqual([])
  })

  test.each(['127.0.0.1', 'localhost:577', '[::1]:577', 'LOCALHOST'])('not the Host %s', async (host) => {
    await start()
    expect((await ask(`/v2/?${ns()}`, { headers: { host } })).status).toBe(401)
  })

  test('two names of registries, and a body', async () => {
    await start()
    expect(codeOf(await ask(`/v2/?${ns()}&${ns()}`))).toBe('PROXY_REQUEST')
    const headers = { 'content-length': '3' }
    expect(codeOf(await ask(`/v2/?${ns()}`, { headers }))).toBe('PROXY_REQUEST')
  })

  test('CONNECT, and TLS in HTTP without a word in the log: podman and containerd may try it first', async () => {
    const { logged } = await start()
    const { port } = proxy!.mirrorSockets[0] as { port: number }
    expect((await openTunnel(port, 'localhost:1')).status).toBe(400)
    const before = logged.length
    const socket = connect(port, '127.0.0.1')
    socket.write(Buffer.from([22, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3]))
    // containerd goes on in HTTP only when it sees an answer in it.
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 400 /)
    expect(logged.slice(before)).toEqual([])
  })

  test('more pipelined requests than a runtime sends', async () => {
    await start()
    const { port } = proxy!.mirrorSockets[0] as { port: number }
    proxy!.registry.door = () => {}
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /v2/?${ns()} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(40))
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 400 [\s\S]*PROXY_REQUEST/)
  })

  test('tunnels to itself through the proxy', async () => {
    await start()
    const { port } = proxy!.mirrorSockets[0] as { port: number }
    expect((await openTunnel(proxy!.port, `localhost:${port}`)).text).toContain('CONNECT_DENIED')
  })
})

describe('the mirror listens', () => {
  const conditions = () => new Conditions({ log: pino({ level: 'silent' }) })

  test('at a socket that every user may use, and removes it when it stops', async () => {
    const path = join(folder, 'run', 'mirror.sock')
    await start([{ socket: { path } }])
    expect(statSync(path).mode & 0o777).toBe(0o666)
    const { status } = await ask(`/v2/?${ns()}`, { socketPath: path, headers: { host: 'anything' } })
    expect(status).toBe(401)
    await proxy!.close()
    expect(existsSync(path)).toBe(false)
  })

  test('at a socket that a killed process left, but not where another process listens or a file is', async () => {
    const path = join(folder, 'mirror.sock')
    const dead = createServer().listen(path)
    servers.push(dead)
    await once(dead, 'listening')
    await expect(start([{ socket: { path } }])).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
    // Its name stays, and nobody listens.
    const other = join(folder, 'other.sock')
    renameSync(path, other)
    await new Promise((resolve) => dead.close(resolve))
    await start([{ socket: { path: other } }])
    await proxy!.close()
    writeFileSync(path, '')
    await expect(start([{ socket: { path } }])).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
  })

  test('at no socket that another user could replace', async () => {
    const open = join(folder, 'open')
    mkdirSync(open)
    chmodSync(open, 0o777)
    await expect(start([{ socket: { path: join(open, 'mirror.sock') } }])).rejects.toMatchObject({
      code: 'DATA_FOLDER',
    })
  })

  test('on a descriptor that somebody else bound, if that is on loopback', async () => {
    const bound = boundAt('127.0.0.1')
    await start([{ socket: { fd: bound.fd } }])
    expect(proxy!.mirrorSockets[0]).toMatchObject({ host: '127.0.0.1' })
    expect((await ask(`/v2/?${ns()}`)).status).toBe(401)
    await expect(start([{ socket: { fd: boundAt('0.0.0.0').fd } }])).rejects.toMatchObject({
      code: 'LISTEN_NOT_LOOPBACK',
    })
  })

  test.each(['0.0.0.0', '::', '192.0.2.1'])('not on %s', async (host) => {
    await expect(start([{ socket: { host, port: 0 } }])).rejects.toMatchObject({
      code: 'LISTEN_NOT_LOOPBACK',
    })
  })

  test('and says so where any user could take its port', async () => {
    const shown = conditions()
    await start([LOOPBACK, { socket: { path: join(folder, 's') } }], () => ({ conditions: shown }))
    const { port } = proxy!.mirrorSockets[0] as { port: number }
    expect(shown.list().map(({ code, subject }) => [code, subject])).toEqual([
      ['MIRROR_PORT_OPEN', `127.0.0.1:${port}`],
    ])
  })
})

describe('a pull that the registry refuses at the mirror', () => {
  const answered = (statusCode: number) => ({
    statusCode,
    req: { headers: { 'user-agent': 'docker/28.5.2 go/go1.24' } },
  })
  const home = { registry: DOCKER_HUB, repository: 'team/app' as never }
  const watch = () => {
    vi.useFakeTimers()
    const conditions = new Conditions({ log: pino({ level: 'silent' }) })
    const refusals = new MirrorRefusals(conditions)
    const note = (statusCode: number, repository = home.repository) =>
      refusals.note({ ...home, repository }, answered(statusCode) as never)
    return { note, conditions, codes: () => conditions.list().map(({ code }) => code) }
  }
  afterEach(() => vi.useRealTimers())

  test('is shown when no credential follows, with the runtime that has none', () => {
    const { note, codes, conditions } = watch()
    note(401)
    expect(codes()).toEqual([])
    vi.advanceTimersByTime(REFUSAL_SETTLES_MS)
    expect(codes()).toEqual(['MIRROR_REFUSED'])
    expect(conditions.list()[0]!.facts).toEqual({ repository: 'team/app', runtime: 'docker/28.5.2' })
    note(200, 'other/app' as never)
    expect(codes()).toEqual(['MIRROR_REFUSED'])
    note(200)
    expect(codes()).toEqual([])
  })

  test('is how every pull begins: one whose token is accepted is not shown', () => {
    const { note, codes } = watch()
    note(401)
    vi.advanceTimersByTime(REFUSAL_SETTLES_MS - 1)
    note(200)
    vi.advanceTimersByTime(REFUSAL_SETTLES_MS)
    expect(codes()).toEqual([])
  })
})

describe('the setting mirrorListen', () => {
  test('names addresses and sockets, each for one registry if that stands before it', () => {
    const text = '127.0.0.1:577, Registry.Example:5000=[::1]:578,docker.io=unix:/run/shoal/hub.sock'
    expect(parseMirrorPlaces(text)).toEqual([
      { socket: { host: '127.0.0.1', port: 577 } },
      { registry: 'registry.example:5000', socket: { host: '::1', port: 578 } },
      { registry: DOCKER_HUB, socket: { path: '/run/shoal/hub.sock' } },
    ])
  })

  test.each([
    '577',
    'unix:mirror.sock',
    '=127.0.0.1:1',
    'a b=127.0.0.1:1',
    '127.0.0.1:99999',
    '127.0.0.1:1,',
  ])('%s is refused with what is expected', (mirrorListen) => {
    const { error } = nodeConfig.safeParse({ trackerUrl: 'https://tracker.example', mirrorListen })
    expect(error?.issues[0]).toMatchObject({ path: ['mirrorListen'], message: /expected address:port/ })
  })

  test('is off unless it is set', () => {
    expect(nodeConfig.parse({ trackerUrl: 'https://tracker.example' }).mirrorListen).toEqual([])
  })
})
