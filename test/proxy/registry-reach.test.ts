import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer as createPlainServer, type Server as HttpServer } from 'node:http'
import { connect, createServer, type Server } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { digestFromHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { createLog } from '../../core/log.ts'
import { openRegistries, RegistryUnreachableError } from '../../core/registry-client.ts'
import { registryConfig } from '../../core/registry-config.ts'
import { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { PROBE_AGAIN_MS, PROBE_PATIENCE_MS, RegistryReach } from '../../proxy/upstream/registry-reach.ts'
import { startConnectProxy } from '../core/connect-proxy.ts'
import { alwaysStatus, type TestRegistry } from '../core/test-registry.ts'
import { openTunnel, readAll, startTestProxy, type TestProxy } from './test-proxy.ts'

let proxy: TestProxy
const closers: (() => unknown)[] = []
afterEach(async () => {
  await proxy.close()
  for (const close of closers.splice(0)) await close()
})

let conditions: Conditions
beforeEach(() => {
  conditions = new Conditions({ log: createLog({ level: 'silent', name: 'test' }) })
})
const codes = () => conditions.list().map(({ code }) => code)

/** The proxy knows the registry at `host` with `settings` in place of what the test's registry has. */
function withSettings(settings: (registry: TestRegistry) => object) {
  return (registry: TestRegistry) => {
    const config = registryConfig.parse({ host: registry.host, ...settings(registry) })
    const registries = openRegistries([config])
    closers.push(() => [...registries.values()].map((client) => client.close()))
    return { registries, conditions }
  }
}

/** Whether the registry's own certificate comes through the proxy, verified: a tunnel. */
async function seesRegistryItself(): Promise<boolean> {
  const { socket } = await openTunnel(proxy.port, proxy.registry.host)
  const ca = proxy.registry.authority.certificatePem
  const secure = connectTls({ socket, servername: 'localhost', ca })
  try {
    await once(secure, 'secureConnect')
    return true
  } catch {
    return false
  } finally {
    secure.destroy()
  }
}

async function listening<S extends Server | HttpServer>(server: S): Promise<string> {
  server.listen(0, 'localhost')
  await once(server, 'listening')
  closers.push(() => server.close())
  return `localhost:${(server.address() as { port: number }).port}`
}

describe('a registry whose certificate does not verify', () => {
  test('is tunnelled from the first connection on, and says which setting is missing', async () => {
    proxy = await startTestProxy(
      alwaysStatus(200),
      withSettings(() => ({})),
    )
    expect(await seesRegistryItself()).toBe(true)
    const [condition] = conditions.list()
    expect(condition).toMatchObject({ code: 'REGISTRY_UNVERIFIED', subject: proxy.registry.host })
    expect(condition!.facts.reason).toMatch(/caFile must name it$/)
    expect(proxy.registry.requests).toEqual([])
    expect(await proxy.metrics.text()).toContain('connects_total{outcome="tunnelled_unusable"} 1')
  })

  test(
    'is intercepted again once a probe verifies it',
    async () => {
      const wrong = await makeAuthority({ commonName: 'another', validForSeconds: 60 })
      let caFile = ''
      proxy = await startTestProxy(
        alwaysStatus(200),
        withSettings((registry) => {
          caFile = registry.writeFile('bundle.pem', wrong.certificatePem)
          return { caFile }
        }),
      )
      expect(await seesRegistryItself()).toBe(true)
      writeFileSync(caFile, proxy.registry.authority.certificatePem)
      await expect.poll(seesRegistryItself, { timeout: 3 * PROBE_AGAIN_MS, interval: 200 }).toBe(false)
      expect((await proxy.ask('/v2/')).statusCode).toBe(200)
      expect(codes()).toEqual([])
    },
    4 * PROBE_AGAIN_MS,
  )

  test('and worked before cuts a kept connection, whose client then finds the tunnel', async () => {
    let certsFile = ''
    const wrong = await makeAuthority({ commonName: 'another', validForSeconds: 60 })
    proxy = await startTestProxy(
      // Ends its connections, so that each request makes a new one.
      alwaysStatus(200, { connection: 'close' }),
      withSettings((registry) => {
        certsFile = registry.writeFile('bundle.pem', registry.authority.certificatePem)
        return { caFile: certsFile }
      }),
    )
    const secure = await proxy.secure()
    const ask = `GET /v2/ HTTP/1.1\r\nHost: ${proxy.registry.host}\r\n\r\n`
    secure.write(ask)
    expect(String((await once(secure, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 /)
    writeFileSync(certsFile, wrong.certificatePem)
    // A changed file is seen within a second.
    await new Promise((resolve) => setTimeout(resolve, 1100))
    secure.write(ask)
    expect(await readAll(secure)).not.toMatch(/^HTTP/m)
    expect(await seesRegistryItself()).toBe(true)
    expect(codes()).toEqual(['REGISTRY_UNVERIFIED'])
  })
})

test('a registry with plain HTTP is tunnelled, and the condition says what it is', async () => {
  const host = await listening(createPlainServer((_, response) => response.end('plain')))
  proxy = await startTestProxy(
    alwaysStatus(200),
    withSettings(() => ({ host })),
  )
  const { status, socket } = await openTunnel(proxy.port, host)
  expect(status).toBe(200)
  socket.write('GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  expect(await readAll(socket)).toMatch(/\r\n\r\n[\s\S]*plain/)
  expect(conditions.list()).toMatchObject([{ code: 'REGISTRY_PLAIN_HTTP', subject: host }])
})

describe('a registry that does not answer', () => {
  test.each([
    ['is down', async () => 'localhost:1'],
    ['is silent', () => listening(createServer(() => {}))],
  ])('because it %s is intercepted, after a bounded wait', async (_, make) => {
    const host = await make()
    proxy = await startTestProxy(
      alwaysStatus(200),
      withSettings(({ config }) => ({ host, caFile: config.caFile })),
    )
    const beganMs = performance.now()
    const { status, socket } = await openTunnel(proxy.port, host)
    expect(status).toBe(200)
    expect(performance.now() - beganMs).toBeLessThan(PROBE_PATIENCE_MS + 1000)
    const secure = connectTls({
      socket,
      servername: 'localhost',
      ca: proxy.caPem,
    })
    await once(secure, 'secureConnect')
    secure.destroy()
  })

  test('a registry that is down is a condition, and its copies are served to whoever is vouched for', async () => {
    const content = Buffer.alloc(5000, 7)
    const digest = digestFromHex('b'.repeat(64))
    proxy = await startTestProxy(
      alwaysStatus(200),
      withSettings(({ config }) => ({ caFile: config.caFile })),
    )
    proxy.client.hold(digest, content)
    await proxy.registry.stop()
    const path = `/v2/team/app/blobs/${digest}`
    const headers = { authorization: 'Bearer a.b.c' }
    const refused = await proxy.ask(path, { headers })
    await refused.body.dump()
    expect(refused.statusCode).toBe(502)
    proxy.client.standing = content.length
    const served = await proxy.ask(path, { headers })
    expect(served.statusCode).toBe(200)
    expect(Buffer.from(await served.body.arrayBuffer()).equals(content)).toBe(true)
    await expect.poll(codes).toContain('REGISTRY_UNREACHABLE')
    expect(await proxy.metrics.text()).toContain('connects_total{outcome="tunnelled_unusable"} 0')
  })
})

test('a registry that breaks one connection off is no tunnel for all: another connection shows that it works', async () => {
  proxy = await startTestProxy(alwaysStatus(200))
  const [registry] = proxy.registry.clients.values()
  const reach = new RegistryReach({ conditions })
  closers.push(() => reach.close())
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
  const failure = new RegistryUnreachableError(registry!.host, { cause: reset })
  expect(reach.failed(registry!, failure)).toBe(false)
  expect(await reach.isTunnelled(registry!)).toBe(false)
  expect(codes()).toEqual([])
})

describe('behind an upstream proxy', () => {
  async function begin(credentials?: string) {
    const company = await startConnectProxy(credentials === undefined ? {} : { credentials })
    closers.push(() => company.close())
    const url = `http://${credentials === undefined ? '' : `${credentials}@`}127.0.0.1:${company.port}`
    const upstreamProxy = new UpstreamProxy({ https: url, http: url, noProxy: '' }, conditions)
    return { company, upstreamProxy }
  }

  test('a tunnel to a name that only the proxy knows goes through it', async () => {
    const { company, upstreamProxy } = await begin('u:p')
    const echo = await listening(createServer((socket) => socket.pipe(socket)))
    proxy = await startTestProxy(alwaysStatus(200), { upstreamProxy })
    const port = echo.split(':')[1]
    const { status, socket } = await openTunnel(proxy.port, `other.invalid:${port}`)
    expect(status).toBe(200)
    socket.end('hello')
    expect(await readAll(socket)).toBe('hello')
    expect([company.connects, company.refused]).toEqual([[`other.invalid:${port}`], 0])
  })

  test('a plain request goes to the proxy whole, with the proxy’s password and not the client’s', async () => {
    const { company, upstreamProxy } = await begin('u:p')
    proxy = await startTestProxy(alwaysStatus(200), { upstreamProxy })
    const { status, body } = await plainGet('http://other.invalid/x?y=1')
    expect([status, body]).toEqual([200, 'through the proxy'])
    expect(company.plain).toEqual(['GET http://other.invalid/x?y=1'])
  })

  test('forbidden targets stay forbidden, and loopback is not asked of the proxy', async () => {
    const { company, upstreamProxy } = await begin()
    proxy = await startTestProxy(alwaysStatus(200), { upstreamProxy })
    for (const target of ['169.254.169.254:80', '2852039166:80', '[fe80::1]:80', `127.0.0.1:${proxy.port}`]) {
      const { status, text } = await openTunnel(proxy.port, target)
      expect([target, status, text.includes('CONNECT_DENIED')]).toEqual([target, 403, true])
    }
    expect((await plainGet('http://169.254.169.254/latest')).status).toBe(403)
    expect([company.connects, company.plain]).toEqual([[], []])
  })

  test('a proxy that is down is a 502 for tunnels, and a condition', async () => {
    const { company, upstreamProxy } = await begin()
    await company.close()
    proxy = await startTestProxy(alwaysStatus(200), { upstreamProxy })
    const { status, text } = await openTunnel(proxy.port, 'other.invalid:443')
    expect([status, text.includes('TARGET_UNREACHABLE')]).toEqual([502, true])
    expect(codes()).toContain('UPSTREAM_PROXY_UNREACHABLE')
  })

  async function plainGet(url: string): Promise<{ status: number; body: string }> {
    const socket = connect(proxy.port, '127.0.0.1')
    const secret = 'Proxy-Authorization: Basic b3RoZXI6c2VjcmV0'
    socket.write(`GET ${url} HTTP/1.1\r\nHost: other.invalid\r\n${secret}\r\nConnection: close\r\n\r\n`)
    const text = await readAll(socket)
    const body = text.slice(text.indexOf('\r\n\r\n') + 4)
    return { status: Number(text.split(' ')[1]), body: /through the proxy/.exec(body)?.[0] ?? body }
  }
})
