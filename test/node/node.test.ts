import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createLog } from '../../core/log.ts'
import { askLocally, authorityAt } from '../../lab/local-api.ts'
import { type NodeConfig, nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { FakeClient } from '../proxy/fake-client.ts'
import { openTunnel } from '../proxy/test-proxy.ts'

interface Progress {
  blobs: object[]
  memory: { rssBytes: number; peakRssBytes: number }
}

const log = createLog({ level: 'silent', name: 'test' })

let folder: string
let client: FakeClient
let startedClients: number
let node: RunningNode | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-node-'))
  client = new FakeClient()
  startedClients = 0
})
afterEach(async () => {
  await node?.close()
  node = undefined
  rmSync(folder, { recursive: true })
})

function config(changes: Record<string, unknown> = {}): NodeConfig {
  return nodeConfig.parse({
    trackerUrl: 'https://tracker.example:7443',
    dataDir: folder,
    proxyListen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    dockerCertsDir: join(folder, 'certs.d'),
    registries: 'registry.example,localhost:5000',
    ...changes,
  })
}

async function start(changes: Parameters<typeof config>[0] = {}): Promise<RunningNode> {
  node = await startNode(config(changes), log, async () => {
    startedClients++
    return client
  })
  return node
}

/** Asks the admin listener; `host` is the Host field. */
async function askAdmin(path: string, options: { method?: string; host?: string } = {}) {
  const { host, port } = node!.adminAddress
  const headers = options.host === undefined ? {} : { host: options.host }
  const asked = httpRequest({ host, port, path, method: options.method ?? 'GET', headers }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const body = Buffer.concat(await answer.toArray()).toString()
  return { status: answer.statusCode, type: answer.headers['content-type'], body }
}

describe('a node', () => {
  test('tells Docker and others of its authority while it runs, and no longer', async () => {
    await start()
    const files = ['certs.d/registry.example/shoal.crt', 'certs.d/localhost:5000/shoal.crt', 'proxy-ca.crt']
    const body = await authorityAt(node!.localSocket)
    expect(body).toMatch(/^-----BEGIN CERTIFICATE-----/)
    for (const file of files) expect(readFileSync(join(folder, file), 'utf8')).toBe(body)
    await node!.close()
    for (const file of files.slice(0, 2)) expect(existsSync(join(folder, file))).toBe(false)
    // A hosts.toml may name this one, and would fail every pull without it.
    expect(readFileSync(join(folder, 'proxy-ca.crt'), 'utf8')).toBe(body)
    expect(client.isClosed).toBe(true)
  })

  test('leaves Docker’s folder to `shoal attach` where it is told to', async () => {
    await start({ writesDockerCerts: false })
    expect(existsSync(join(folder, 'certs.d'))).toBe(false)
    expect(readFileSync(join(folder, 'proxy-ca.crt'), 'utf8')).toMatch(/^-----BEGIN CERTIFICATE-----/)
  })

  test('keeps its admin listener out of the proxy’s reach', async () => {
    await start()
    const { text } = await openTunnel(node!.proxyAddress.port, `localhost:${node!.adminAddress.port}`)
    expect(text).toContain('CONNECT_DENIED')
  })

  test.each(['proxyListen', 'adminListen'])(
    'refuses to start with %s on anything but loopback, before it asks the tracker',
    async (key) => {
      for (const listen of ['0.0.0.0:0', '[::]:0', '192.0.2.1:0', 'nowhere.invalid:0']) {
        await expect(start({ [key]: listen })).rejects.toMatchObject({
          code: 'LISTEN_NOT_LOOPBACK',
          message: expect.stringContaining(key),
          hint: expect.stringContaining('127.0.0.1'),
        })
      }
      expect(startedClients).toBe(0)
    },
  )

  test('that finds its port taken says so, closes what it opened and leaves no file', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await expect(start({ proxyListen: `127.0.0.1:${port}` })).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
    expect(client.isClosed).toBe(true)
    expect(existsSync(join(folder, 'proxy-ca.crt'))).toBe(false)
    expect(existsSync(join(folder, 'certs.d'))).toBe(false)
    other.close()
  })

  test('that finds its port taken leaves the trust files of the node that has it', async () => {
    const first = await start()
    const path = join(folder, 'certs.d/registry.example/shoal.crt')
    const before = readFileSync(path, 'utf8')
    const { port } = first.proxyAddress
    await expect(
      startNode(
        config({ proxyListen: `127.0.0.1:${port}`, localSocket: join(folder, 'second.sock') }),
        log,
        async () => client,
      ),
    ).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    })
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  test.each([
    ['memory', 32],
    ['none', undefined],
    ['file', 32],
  ])('gives the client the cache key that it is told to use: %s', async (kind, bytes) => {
    const path = join(folder, 'cache.key')
    writeFileSync(path, `SHOALKEY-1-${Buffer.alloc(32, 5).toString('base64url')}\n`)
    let secret: Uint8Array | undefined
    const cacheKeyFile = kind === 'file' ? path : kind
    node = await startNode(config({ cacheKeyFile }), log, async ({ cacheSecret }) => {
      secret = cacheSecret
      return client
    })
    expect(secret?.length).toBe(bytes)
    if (kind === 'file') expect(secret).toEqual(Buffer.alloc(32, 5))
    if (kind === 'memory') expect(secret).not.toEqual(Buffer.alloc(32))
  })

  test('with a cache key file that holds no key does not start', async () => {
    const path = join(folder, 'cache.key')
    writeFileSync(path, 'hunter2')
    await expect(start({ cacheKeyFile: path })).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.not.stringContaining('hunter2'),
    })
    await expect(start({ cacheKeyFile: join(folder, 'none.key') })).rejects.toMatchObject({ code: 'CONFIG' })
  })

  test('with an unreadable join token file does not start', async () => {
    await expect(start({ joinTokenFile: join(folder, 'none') })).rejects.toMatchObject({ code: 'CONFIG' })
  })
})

describe('a node that has not joined its cluster', () => {
  test('is not called ready in its log before it has joined', async () => {
    const messages: string[] = []
    const destination = { write: (line: string) => void messages.push(JSON.parse(line).msg) }
    client.isJoined = false
    const lines = createLog({ level: 'info', name: 'test', destination })
    node = await startNode(config(), lines, async () => client)
    expect(messages).toContain('the node runs, but has not joined its cluster yet')
    expect(messages).not.toContain('the node is ready')
    client.joining.resolve()
    await expect.poll(() => messages).toContain('the node is ready')
  })

  test('says so, with the reason, in its health and metrics', async () => {
    const trackerUrl = 'https://127.0.0.1:1'
    const joinTokenFile = join(folder, 'join-token')
    writeFileSync(joinTokenFile, `SHOAL-1-c0123456789abcdef-${'A'.repeat(43)}`)
    node = await startNode(config({ trackerUrl, joinTokenFile, peerListen: '127.0.0.1:0' }), log)
    const health = await askAdmin('/healthz')
    expect(health.status).toBe(200)
    const { status, codes } = JSON.parse(health.body)
    expect(status).toBe('degraded')
    expect(codes).toContain('NOT_JOINED')
    const metrics = (await askAdmin('/metrics')).body
    expect(metrics).toContain('shoal_node_conditions{code="NOT_JOINED"} 1')
    expect(metrics).toContain('shoal_node_conditions{code="NO_REGISTRIES"} 0')
  })
})

describe('the admin listener', () => {
  test('says that the node is well, what it moved and how it is doing', async () => {
    await start()
    client.progress = () => [
      {
        registry: 'registry.example' as never,
        digest: `sha256:${'a'.repeat(64)}` as never,
        repository: 'team/app' as never,
        bytes: 10,
        bytesFromRegistry: 3,
        bytesFromPeers: 7,
        bytesFromNear: 4,
        bytesFromFar: 2,
        bytesToPeers: 5,
        bytesFromCache: 2,
        state: 'complete',
        peers: 2,
      },
    ]
    const health = await askAdmin('/healthz')
    expect(health.status).toBe(200)
    // The registries of this configuration do not exist.
    const isAboutNode = (code: string) => code !== 'REGISTRY_UNREACHABLE'
    expect(JSON.parse(health.body).codes.filter(isAboutNode)).toEqual([])
    const progress = await askLocally<Progress>(node!.localSocket, '/v1/progress')
    expect(progress.blobs).toEqual(client.progress())
    expect(progress.memory.rssBytes).toBeGreaterThan(0)
    expect(progress.memory.peakRssBytes).toBeGreaterThanOrEqual(progress.memory.rssBytes / 2)
    const metrics = await askAdmin('/metrics')
    for (const series of [
      'shoal_node_blob_peer_bytes 7',
      'shoal_node_upload_bytes_total 5',
      'shoal_node_cache_bytes 10',
      'shoal_node_cache_evictions_total 7',
      'shoal_node_tracker_connected 1',
      'shoal_node_tracker_calls_total{outcome="failed"} 2',
      'shoal_node_peers{state="unreachable"} 2',
      'shoal_node_peer_failures_total{reason="refused"} 5',
      'shoal_node_pull_bytes_total{source="cache"} 0',
      'shoal_node_joined 1',
    ]) {
      expect(metrics.body).toContain(series)
    }
    const status = await askLocally(node!.localSocket, '/v1/status')
    expect(status).toMatchObject({ node: { joined: true }, cache: { bytes: 10 }, pulls: [] })
    expect(metrics.body).toContain('shoal_proxy_connects_total{outcome="intercepted"} 0')
    expect((await askAdmin('/healthz', { method: 'HEAD' })).body).toBe('')
  })

  test.each([
    [404, 'NOT_FOUND', '/', {}],
    [404, 'NOT_FOUND', '/metrics/..', {}],
    [404, 'NOT_FOUND', '/v1/status', {}],
    [404, 'NOT_FOUND', '/v1/progress', {}],
    [404, 'NOT_FOUND', '/v1/pause', { method: 'PUT' }],
    [405, 'METHOD_NOT_ALLOWED', '/metrics', { method: 'POST' }],
    [403, 'ADMIN_HOST', '/metrics', { host: 'rebound.example' }],
    [403, 'ADMIN_HOST', '/healthz', { host: 'localhost.evil.example:7072' }],
    [403, 'ADMIN_HOST', '/readyz', { host: '192.0.2.1' }],
  ])('answers %i %s to what it does not serve', async (status, code, path, options) => {
    await start()
    const answer = await askAdmin(path, options)
    expect(answer).toMatchObject({ status, type: 'application/json' })
    expect(JSON.parse(answer.body).error.code).toBe(code)
  })

  test.each(['localhost', 'LOCALHOST:1', '127.0.0.1:7072', '[::1]:7072'])(
    'answers to the name %s',
    async (host) => {
      await start()
      expect((await askAdmin('/healthz', { host })).status).toBe(200)
    },
  )
})

describe('the configuration', () => {
  test.each([
    ['an unknown key', { proxyListn: '127.0.0.1:1' }],
    ['a tracker without TLS', { trackerUrl: 'http://tracker.example' }],
    ['a listener without port', { proxyListen: '127.0.0.1' }],
    ['a registry that is no host', { registries: 'https://registry.example' }],
  ])('is refused with %s', (_name, changes) => {
    expect(() => config(changes)).toThrow()
  })

  test('takes `none` for no directory of Docker', () => {
    expect(config({ dockerCertsDir: 'none' }).dockerCertsDir).toBe('')
  })
})
