import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import {
  fetchesTokensElsewhere,
  isTunnelledName,
  withTunnelledRealm,
} from '../../proxy/intercept/tunnelled-name.ts'
import { parseAuthority } from '../../proxy/upstream/target.ts'
import { codeOf, openTunnel, startTestProxy, type TestProxy } from './test-proxy.ts'

/** As dockerd 28.5.2 names itself, with containerd's image store and without. */
const DOCKER = 'docker/28.5.2 go/go1.24.9 git-commit/3ef3c07 kernel/6.1.0 os/linux arch/amd64'
const CONTAINERD_STORE = `${DOCKER} containerd-client/2.1.9+unknown storage-driver/overlayfs UpstreamClient(Docker-Client/28.5.2 \\(linux\\))`
const CLASSIC_STORE = `${DOCKER} UpstreamClient(Docker-Client/28.5.2 \\(linux\\))`

let proxy: TestProxy | undefined
afterEach(async () => {
  await proxy?.close()
  proxy = undefined
})

/** The realm that a client of `registry.example` is told. */
const told = (challenge: string, registry = 'registry.example') =>
  withTunnelledRealm(['Www-Authenticate', challenge], parseRegistryHost(registry))[1]

describe('the realm of a token server', () => {
  test.each([
    ['registry.example', 'https://registry.example/token', 'https://registry.examplE/token'],
    ['registry.example', 'https://registry.example:443/token', 'https://registry.examplE:443/token'],
    ['registry.example', 'https://Registry.Example/token?a=b', 'https://registry.examplE/token?a=b'],
    ['registry.example:5000', 'https://registry.example:5000/t', 'https://registry.examplE:5000/t'],
    ['cache-7.k8s-1', 'https://cache-7.k8s-1/t', 'https://cache-7.k8S-1/t'],
    ['10.0.0.5:5000', 'https://10.0.0.5:5000/t', 'https://[::ffff:10.0.0.5]:5000/t'],
    ['[fd00::ab:1]:5000', 'https://[fd00::ab:1]:5000/t', 'https://[fd00::aB:1]:5000/t'],
  ])('at %s itself, %s, is spelled %s', (registry, realm, spelled) => {
    const challenge = (url: string) => `Bearer realm="${url}",service="s",scope="repository:team/app:pull"`
    expect(told(challenge(realm), registry)).toBe(challenge(spelled))
  })

  test.each([
    ['another host', 'https://auth.example/token'],
    ['a host below it', 'https://token.registry.example/token'],
    ['a host above it', 'https://example/token'],
    ['another port', 'https://registry.example:8443/token'],
    ['another scheme', 'http://registry.example/token'],
    ['a user', 'https://registry.example@evil.example/token'],
    ['no URL', 'registry.example'],
  ])('with %s stays as it is', (_what, realm) => {
    expect(told(`Bearer realm="${realm}",service="registry.example"`)).toBe(
      `Bearer realm="${realm}",service="registry.example"`,
    )
  })

  test('is found among several challenges, and no other field is changed', () => {
    const realm = 'realm="https://registry.example/token"'
    const raw = ['Link', realm, 'WWW-Authenticate', `Basic realm="x, y", Bearer ${realm}`]
    expect(withTunnelledRealm(raw, parseRegistryHost('registry.example'))).toEqual([
      ...['Link', realm, 'WWW-Authenticate'],
      'Basic realm="x, y", Bearer realm="https://registry.examplE/token"',
    ])
  })

  test('at a host without letters, in IPv6, stays as it is', () => {
    expect(told('Bearer realm="https://[::1]:5000/t"', '[::1]:5000')).toBe(
      'Bearer realm="https://[::1]:5000/t"',
    )
  })
})

test('only clients that fetch tokens with another trust store are told so', () => {
  expect(fetchesTokensElsewhere(CONTAINERD_STORE)).toBe(true)
  expect(fetchesTokensElsewhere('buildkit/v0.25')).toBe(true)
  for (const other of [
    CLASSIC_STORE,
    'containerd/v2.1.9',
    'containers/5.36 (github.com/containers/image)',
    '',
  ])
    expect(fetchesTokensElsewhere(other)).toBe(false)
  expect(fetchesTokensElsewhere(undefined)).toBe(false)
})

test.each(['registry.example:443', 'REGISTRY.EXAMPLE:443', 'Registry.Example.:443', 'registry.example.:443'])(
  '%s, as a person may write it, is not the tunnelled spelling',
  (authority) => expect(isTunnelledName(authority, parseRegistryHost('registry.example'))).toBe(false),
)

test('an IPv4 address that is written as IPv6 is connected to as itself', () => {
  expect(parseAuthority('[::ffff:10.0.0.5]:5000')).toEqual({ host: '10.0.0.5', port: 5000 })
  expect(isTunnelledName('[::ffff:10.0.0.5]:5000', parseRegistryHost('10.0.0.5:5000'))).toBe(true)
})

describe('through the proxy', () => {
  /** A registry that is its own token server. */
  const start = async () => {
    proxy = await startTestProxy((request, response) => {
      const realm = `https://${request.headers.host}/token`
      if (request.url === '/token') response.writeHead(200).end('{}')
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end()
    })
    return proxy
  }
  const realmFor = async (userAgent: string) => {
    const { headers } = await proxy!.ask('/v2/', { headers: { 'user-agent': userAgent } })
    return /realm="([^"]*)"/.exec(String(headers['www-authenticate']))![1]!
  }

  test("dockerd with containerd's store gets a realm whose connection it makes with the registry itself", async () => {
    const { port, registry, caPem } = await start()
    const realm = /^https:\/\/([^/]*)\/token$/.exec(await realmFor(CONTAINERD_STORE))![1]!
    expect(realm).toBe(registry.host.replace('localhost', 'localhosT'))
    const { socket } = await openTunnel(port, realm)
    // Trusts what the system trusts, and not the proxy's authority.
    const { certificatePem } = registry.authority
    const secure = connectTls({ socket, servername: 'localhosT', ca: certificatePem })
    await once(secure, 'secureConnect')
    secure.write(`GET /token HTTP/1.1\r\nHost: ${realm}\r\nConnection: close\r\n\r\n`)
    const [answer] = await once(secure, 'data')
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /)
    secure.destroy()
    expect(caPem).not.toContain(certificatePem.trim())
  })

  test('everybody else gets the realm as the registry wrote it', async () => {
    const { registry } = await start()
    for (const client of [CLASSIC_STORE, 'containerd/v2.1.9', 'skopeo/1.22'])
      expect(await realmFor(client)).toBe(`https://${registry.host}/token`)
  })

  test.each(['LOCALHOST', 'Localhost', 'localhost.'])(
    'the registry is intercepted as %s too',
    async (name) => {
      const { port, registry, caPem } = await start()
      const { socket } = await openTunnel(port, registry.host.replace('localhost', name))
      const secure = connectTls({ socket, servername: 'localhost', ca: caPem })
      await once(secure, 'secureConnect')
      secure.destroy()
    },
  )

  test('a request in such a connection for another host is refused as ever', async () => {
    const { ask } = await start()
    const answer = await ask('/v2/', { headers: { host: 'other.example' } })
    expect([answer.statusCode, await codeOf(answer)]).toEqual([421, 'MISDIRECTED_REQUEST'])
  })
})
