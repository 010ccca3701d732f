import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { createLog } from '../../core/log.ts'
import { openRegistries, type RegistryClient } from '../../core/registry-client.ts'
import { parseProxyUrl, UpstreamProxy } from '../../core/upstream-proxy.ts'
import { upstreamProxyOf } from '../../core/upstream-proxy-config.ts'
import { type ConnectProxy, startConnectProxy } from './connect-proxy.ts'
import { alwaysStatus, BLOB, REPOSITORY, startTestRegistry, type TestRegistry } from './test-registry.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

const logged: string[] = []
const log = createLog({ level: 'debug', name: 'test', destination: { write: (line) => logged.push(line) } })

async function begin(options: Parameters<typeof startConnectProxy>[0] = {}) {
  const company = await startConnectProxy(options)
  closers.push(() => company.close())
  // A name that resolves nowhere but at the proxy (RFC 6761 §6.4).
  const registry = await startTestRegistry(
    alwaysStatus(200, { 'content-length': 7 }),
    {},
    { name: 'registry.invalid' },
  )
  closers.push(() => registry.close())
  return { company, registry, conditions: new Conditions({ log }) }
}

function through(registry: TestRegistry, proxy: UpstreamProxy): RegistryClient {
  const client = openRegistries([registry.config], { proxy }).get(registry.host)!
  closers.push(() => client.close())
  return client
}

const head = (client: RegistryClient) =>
  client.headBlob({ repository: REPOSITORY, digest: BLOB, authorization: undefined })

const settings = (company: ConnectProxy, userInfo = '', noProxy = '') => ({
  https: `http://${userInfo}127.0.0.1:${company.port}`,
  http: undefined,
  noProxy,
})

describe('a registry behind an upstream proxy', () => {
  it('is reached by name through CONNECT, and its own certificate is verified', async () => {
    const { company, registry } = await begin()
    const client = through(registry, new UpstreamProxy(settings(company)))
    expect(await head(client)).toEqual({ isPresent: true, bytes: 7, isRedirect: false })
    expect(company.connects).toEqual([registry.host])
    expect(company.agents).toEqual([expect.stringMatching(/^shoal\/\d+\.\d+\.\d+$/)])
    expect(company.bytes).toBeGreaterThan(500)
    const stranger = openRegistries([{ host: registry.host, kind: 'none', permitPrivateRedirects: false }], {
      proxy: new UpstreamProxy(settings(company)),
    }).get(registry.host)!
    closers.push(() => stranger.close())
    await expect(head(stranger)).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
    expect(registry.requests).toHaveLength(1)
  })

  it('shows the proxy user and password of its URL, and nobody else', async () => {
    const { company, registry, conditions } = await begin({ credentials: 'shoal:p@ss:word' })
    const without = through(registry, new UpstreamProxy(settings(company), conditions))
    await expect(head(without)).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
    expect(conditions.list().map(({ code }) => code)).toEqual(['UPSTREAM_PROXY_REFUSED'])
    const proxy = new UpstreamProxy(settings(company, 'shoal:p%40ss:word@'), conditions)
    expect((await head(through(registry, proxy))).isPresent).toBe(true)
    expect(company.refused).toBe(1)
    expect(conditions.list()).toEqual([])
    expect(registry.requests.map(({ authorization }) => authorization)).toEqual([undefined])
    expect(logged.join()).not.toMatch(/p@ss|p%40ss|c2hvYWw6/)
  })

  it('is not asked through the proxy if NO_PROXY names it', async () => {
    const { company, registry } = await begin()
    const client = through(registry, new UpstreamProxy(settings(company, '', 'invalid')))
    await expect(head(client)).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' })
    expect(company.connects).toEqual([])
  })

  it('and a proxy that is down is a condition until it answers again', async () => {
    const { company, registry, conditions } = await begin()
    const proxy = new UpstreamProxy(settings(company), conditions)
    await company.close()
    const client = through(registry, proxy)
    await expect(head(client)).rejects.toThrowError(/the upstream proxy 127\.0\.0\.1:\d+ cannot be reached/)
    expect(conditions.list().map(({ code, subject }) => [code, subject])).toEqual([
      ['UPSTREAM_PROXY_UNREACHABLE', `127.0.0.1:${company.port}`],
    ])
  })

  it('ends with an error if what listens there speaks no HTTP, or only hangs up', async () => {
    for (const words of ['SSH-2.0-OpenSSH_9.2\r\n\r\n', 'x'.repeat(20_000), '']) {
      const server = createServer((socket) => socket.end(words)).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      closers.push(async () => server.close())
      const { port } = server.address() as { port: number }
      const proxy = new UpstreamProxy({ https: `http://127.0.0.1:${port}`, http: undefined, noProxy: '' })
      await expect(proxy.connect({ host: 'a.invalid', port: 443 })).rejects.toMatchObject({
        code: 'UPSTREAM_PROXY',
      })
    }
  })
})

describe('a blob’s redirect behind an upstream proxy', () => {
  const get = (client: RegistryClient, origin: string) =>
    client.redirectDispatcher.request({ origin, path: '/', method: 'HEAD' })

  it('goes through the proxy by its name', async () => {
    const { company, registry } = await begin()
    const client = through(registry, new UpstreamProxy(settings(company)))
    const answer = await get(client, `https://${registry.host}`)
    await answer.body.dump()
    expect([answer.statusCode, company.connects]).toEqual([200, [registry.host]])
  })

  it('is refused before the proxy hears of it, if the name has a forbidden address', async () => {
    const { company, registry } = await begin()
    const proxy = new UpstreamProxy(settings(company))
    proxy.resolve = async () => [
      { address: '10.0.0.1', family: 4 },
      { address: '169.254.169.254', family: 4 },
    ]
    const client = through(registry, proxy)
    await expect(get(client, 'https://store.invalid')).rejects.toMatchObject({ code: 'REDIRECT_REFUSED' })
    expect(company.connects).toEqual([])
  })

  it('is refused by a late name server as well, and not asked of the proxy before that has answered', async () => {
    const { company, registry } = await begin()
    const late = async () => {
      await wait(1200)
      return [{ address: '169.254.169.254', family: 4 }]
    }
    const client = through(registry, new UpstreamProxy(settings(company), undefined, undefined, late))
    for (let times = 0; times < 2; times += 1)
      await expect(get(client, 'https://store.invalid')).rejects.toMatchObject({ code: 'REDIRECT_REFUSED' })
    expect(company.connects).toEqual([])
  }, 15_000)

  it('is refused if no name server answers in time, unless none has answered lately', async () => {
    const { company } = await begin()
    vi.useFakeTimers()
    try {
      const failing = Object.assign(new Error('no server'), { code: 'EAI_AGAIN' })
      const names = new Map<string, () => Promise<never>>([
        ['silent.test', () => new Promise(() => undefined)],
        ['dead.test', () => wait(5000).then(() => Promise.reject(failing))],
      ])
      const proxy = new UpstreamProxy(settings(company), undefined, undefined, (host) => names.get(host)!())
      const unknown = proxy.resolve('silent.test').catch((error: unknown) => error)
      await vi.advanceTimersByTimeAsync(11_000)
      expect(await unknown).toMatchObject({ code: 'UPSTREAM_PROXY' })
      const dead = proxy.resolve('dead.test')
      await vi.advanceTimersByTimeAsync(6_000)
      expect(await dead).toEqual([])
      // No name server here: the proxy alone decides, and nobody waits for long.
      const left = proxy.resolve('silent.test')
      await vi.advanceTimersByTimeAsync(1_100)
      expect(await left).toEqual([])
      await vi.advanceTimersByTimeAsync(60_000)
      const again = proxy.resolve('silent.test').catch((error: unknown) => error)
      await vi.advanceTimersByTimeAsync(11_000)
      expect(await again).toMatchObject({ code: 'UPSTREAM_PROXY' })
    } finally {
      vi.useRealTimers()
    }
  })

  it('never leads to this machine: loopback is not asked of the proxy, and refused', async () => {
    const { company, registry } = await begin()
    const client = through(registry, new UpstreamProxy(settings(company)))
    await expect(get(client, `https://localhost:${company.port}`)).rejects.toMatchObject({
      code: 'REDIRECT_REFUSED',
    })
    expect(company.connects).toEqual([])
  })
})

describe('the proxy’s URL', () => {
  it.each([
    ['http://proxy.test:3128', { isTls: false, host: 'proxy.test', port: 3128, authorization: undefined }],
    ['proxy.test:3128', { isTls: false, host: 'proxy.test', port: 3128, authorization: undefined }],
    ['https://proxy.test/', { isTls: true, host: 'proxy.test', port: 443, authorization: undefined }],
    ['http://[2001:db8::1]', { isTls: false, host: '2001:db8::1', port: 80, authorization: undefined }],
    ['http://u:p@proxy.test', { isTls: false, host: 'proxy.test', port: 80, authorization: 'Basic dTpw' }],
  ])('%s', (text, proxy) => {
    expect(parseProxyUrl(text)).toEqual(proxy)
  })

  it.each(['socks5://proxy.test:1080', 'http://', 'http://proxy.test:99999', 'http://a b', ''])(
    'is not %j',
    (text) => {
      expect(parseProxyUrl(text)).toBeUndefined()
    },
  )

  it('comes from the settings before the environment, in either case, and a file may hold it', () => {
    const env = { https_proxy: 'http://lower.test:1', NO_PROXY: 'b.test' }
    const hosts = (given: object, variables: Record<string, string> = env) =>
      upstreamProxyOf(given, variables)?.addresses.map(({ host }) => host)
    expect(hosts({})).toEqual(['lower.test'])
    expect(hosts({}, { ...env, HTTPS_PROXY: 'http://upper.test:1' })).toEqual(['upper.test'])
    expect(hosts({ upstreamProxy: 'http://set.test:1' })).toEqual(['set.test', 'set.test'])
    expect(hosts({ upstreamProxy: 'none' })).toBeUndefined()
    expect(upstreamProxyOf({}, env)?.isUsedFor('a.b.test', 443)).toBe(false)
    const path = join(tmpdir(), `shoal-proxy-${process.pid}`)
    writeFileSync(path, 'http://u:secret@file.test:1\n', { mode: 0o600 })
    expect(hosts({ upstreamProxyFile: path })).toEqual(['file.test', 'file.test'])
    const both = () => upstreamProxyOf({ upstreamProxyFile: path, upstreamProxy: 'http://x.test' }, {})
    expect(both).toThrowError(expect.objectContaining({ code: 'CONFIG' }))
    const wrong = () => upstreamProxyOf({ upstreamProxy: 'socks5://u:secret@x.test' }, {})
    expect(wrong).toThrowError(expect.objectContaining({ code: 'CONFIG' }))
    expect(wrong).not.toThrowError(/secret/)
  })

  it('with https:// speaks TLS with a proxy that the system’s store verifies', async () => {
    const authority = await makeAuthority({ commonName: 'company', validForSeconds: 600 })
    const names = [{ type: 'ip' as const, value: '127.0.0.1' }]
    const leaf = { commonName: 'proxy', validForSeconds: 600, names, usages: ['serverAuth' as const] }
    const { company, registry, conditions } = await begin({ tls: await issueLeaf(authority, leaf) })
    const url = { ...settings(company), https: `https://127.0.0.1:${company.port}` }
    // Not in the system's store, so it must not be spoken to.
    await expect(head(through(registry, new UpstreamProxy(url, conditions)))).rejects.toThrow()
    expect(company.connects).toEqual([])
    const trusting = new UpstreamProxy(url, conditions, authority.certificatePem)
    expect((await head(through(registry, trusting))).isPresent).toBe(true)
    expect(company.connects).toEqual([registry.host])
  })
})
