import { execFileSync, spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Condition, Conditions } from '../../core/conditions.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { openTunnel, readAll, startTestProxy, type TestProxy } from './test-proxy.ts'

const isWithoutOpenssl = mustSkipFor(['openssl'])
const testWithOpenssl = test.skipIf(isWithoutOpenssl)

let proxy: TestProxy
const servers: Server[] = []
afterEach(async () => {
  await proxy.close()
  for (const server of servers.splice(0)) server.close()
})

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

describe('a host that is not a configured registry', () => {
  test('gets the very bytes that the client sent, and the client gets its own', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const received: Buffer[] = []
    const port = await listen((socket) => {
      socket.on('data', (chunk) => received.push(chunk))
      // Answers only when the client has said all: each direction ends by itself.
      socket.on('end', () => socket.end(Buffer.from([0, 255, 13, 10, 0])))
    })
    const { status, socket } = await openTunnel(proxy.port, `127.0.0.1:${port}`)
    expect(status).toBe(200)
    const sent = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251))
    socket.end(sent)
    expect(Buffer.from(await readAll(socket), 'latin1')).toEqual(Buffer.from([0, 255, 13, 10, 0]))
    expect(Buffer.concat(received).equals(sent)).toBe(true)
  })

  test('gets what the client sent together with its CONNECT request', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const port = await listen((socket) => socket.pipe(socket))
    const socket = connect(proxy.port, '127.0.0.1')
    socket.end(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: x\r\n\r\nearly`)
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 200 [^\r]*\r\n\r\nearly$/)
  })

  test('is let go when the client is cut off', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const upstream = Promise.withResolvers<Socket>()
    const port = await listen(upstream.resolve)
    const { socket } = await openTunnel(proxy.port, `127.0.0.1:${port}`)
    const other = await upstream.promise
    socket.resetAndDestroy()
    await once(other.resume(), 'end')
  })

  test('is let go when the proxy stops', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const upstream = Promise.withResolvers<Socket>()
    const port = await listen(upstream.resolve)
    const { socket } = await openTunnel(proxy.port, `127.0.0.1:${port}`)
    const other = await upstream.promise
    socket.resume()
    const ended = once(other.resume(), 'end')
    await proxy.close()
    await ended
  })

  test('that cannot be reached is a 502 with its code, in the reason phrase too', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    for (const target of ['127.0.0.1:1', 'nowhere.invalid:443']) {
      const { status, text } = await openTunnel(proxy.port, target)
      expect(status).toBe(502)
      expect(text).toMatch(/^HTTP\/1\.1 502 Bad Gateway \(TARGET_UNREACHABLE\)\r\n/)
      expect(JSON.parse(text.split('\r\n\r\n')[1]!).errors[0].code).toBe('TARGET_UNREACHABLE')
    }
  })
})

describe('targets that are nobody’s business', () => {
  test.each([
    '169.254.169.254:80',
    // The same address as other programs write it.
    '2852039166:80',
    '0xa9fea9fe:80',
    '[::ffff:169.254.169.254]:80',
    '[fe80::1]:80',
    '[fd00:ec2::254]:80',
    '100.100.100.200:80',
  ])('%s is denied', async (target) => {
    proxy = await startTestProxy(alwaysStatus(200))
    const { status, text } = await openTunnel(proxy.port, target)
    expect([status, text.includes('CONNECT_DENIED')]).toEqual([403, true])
  })

  test('the node’s own proxy and admin listeners are denied, by any of their names', async () => {
    const admin = await listen((socket) => socket.end('secrets'))
    proxy = await startTestProxy(alwaysStatus(200), { deniedPorts: [admin] })
    for (const host of [
      '127.0.0.1',
      'localhost',
      '[::1]',
      '0.0.0.0',
      '[::]',
      '127.1',
      '[::ffff:127.0.0.1]',
    ]) {
      for (const port of [admin, proxy.port]) {
        const { status, text } = await openTunnel(proxy.port, `${host}:${port}`)
        expect([host, status, text.includes('CONNECT_DENIED')]).toEqual([host, 403, true])
      }
    }
  })

  test('and plain requests are held to the same rules', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    for (const target of ['169.254.169.254', `localhost:${proxy.port}`]) {
      const socket = connect(proxy.port, '127.0.0.1')
      socket.write(
        `GET http://${target}/latest/meta-data HTTP/1.1\r\nHost: ${target}\r\nConnection: close\r\n\r\n`,
      )
      expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 403 [\s\S]*CONNECT_DENIED/)
    }
  })

  test.each([
    '',
    'localhost',
    'localhost:0',
    'localhost:65536',
    'user@localhost:1',
    'localhost:443/path',
    '[::1:443',
  ])('CONNECT %j is a 400 with a code', async (target) => {
    proxy = await startTestProxy(alwaysStatus(200))
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)
    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 400 [\s\S]*PROXY_REQUEST/)
  })
})

describe('a configured registry', () => {
  test('is shown as itself by a certificate that verifies for it and names nobody else', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const secure = await proxy.secure()
    const leaf = new X509Certificate(secure.getPeerCertificate().raw)
    expect(leaf.subjectAltName).toBe('DNS:localhost')
    expect(leaf.verify(new X509Certificate(proxy.caPem).publicKey)).toBe(true)
    expect(secure.alpnProtocol).toBe('http/1.1')
    secure.destroy()
  })

  testWithOpenssl(
    'is the only one that the authority can speak for: OpenSSL refuses what it signs for another',
    async () => {
      proxy = await startTestProxy(alwaysStatus(200))
      const text = execFileSync('openssl', ['x509', '-noout', '-text'], { input: proxy.caPem }).toString()
      expect(text).toMatch(
        /X509v3 Name Constraints: critical\s+Permitted:\s+DNS:localhost\s[\s\S]+Excluded:\s+DNS:\.localhost\s+IP:0\.0\.0\.0\/0/,
      )
      expect(text).toMatch(/CA:TRUE, pathlen:0/)
    },
  )

  test('is known by host and port: another port of the same host is tunnelled', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const port = await listen((socket) => socket.end('not TLS'))
    const { socket } = await openTunnel(proxy.port, `localhost:${port}`)
    expect(await readAll(socket)).toBe('not TLS')
  })

  test('is intercepted although the client sends its TLS hello without waiting', async () => {
    proxy = await startTestProxy(alwaysStatus(204))
    const socket = connect(proxy.port, '127.0.0.1')
    // What the proxy sends before TLS is cut off here, as the socket's reader is TLS from the start.
    const hello = await clientHello(proxy.caPem)
    const target = proxy.registry.host
    socket.write(Buffer.concat([Buffer.from(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`), hello]))
    let answer = Buffer.alloc(0)
    while (answer.indexOf('\r\n\r\n') < 0 || answer.length < answer.indexOf('\r\n\r\n') + 9) {
      answer = Buffer.concat([answer, (await once(socket, 'data'))[0]])
    }
    const record = answer.subarray(answer.indexOf('\r\n\r\n') + 4)
    // A handshake record (22) with a ServerHello (2).
    expect([record[0], record[5]]).toEqual([22, 2])
    socket.destroy()
  })

  test('speaks TLS 1.2 and 1.3 and nothing older', async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const speak = async (version: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3') => {
      const { socket } = await openTunnel(proxy.port, proxy.registry.host, `speaks ${version}`)
      const secure = connectTls({
        ...{ socket, servername: 'localhost', ca: proxy.caPem, minVersion: version, maxVersion: version },
        ciphers: 'DEFAULT@SECLEVEL=0',
      })
      await once(secure, 'secureConnect')
      const { name } = secure.getCipher()
      secure.destroy()
      return name
    }
    expect(await speak('TLSv1.3')).toMatch(/^TLS_/)
    expect(await speak('TLSv1.2')).toMatch(/^ECDHE-ECDSA-.*(GCM|POLY1305)/)
    await expect(speak('TLSv1.1')).rejects.toThrow()
  })

  testWithOpenssl(
    'is tunnelled for a client that rejects our authority, and goes on being intercepted for others',
    async () => {
      proxy = await startTestProxy(alwaysStatus(200, { 'x-from': 'registry' }))
      const caFile = proxy.registry.config.caFile!
      // OpenSSL rejects with an alert during the handshake, as Go does; Node only hangs up after it.
      expect(await opensslThrough(proxy, caFile)).toContain('verify error')
      await expect
        .poll(() => proxy.logged.find(({ level }) => level === 'warn')?.registry)
        .toBe(proxy.registry.host)
      expect(await opensslThrough(proxy, caFile)).toContain('Verify return code: 0 (ok)')
      const other = await proxy.ask('/v2/')
      expect(other.statusCode).toBe(200)
    },
  )
})

describe.skipIf(isWithoutOpenssl)('of two programs of one user', () => {
  /** The same program under two names, so that only the executable tells them apart. */
  let folder: string
  afterEach(() => rmSync(folder, { recursive: true }))
  const program = (name: string) => {
    copyFileSync('/usr/bin/openssl', join(folder, name))
    chmodSync(join(folder, name), 0o755)
    return join(folder, name)
  }
  let conditions: Conditions
  beforeEach(() => {
    conditions = new Conditions({ log: pino({ level: 'silent' }) })
  })
  const distrusted = () => conditions.list().filter(({ code }) => code === 'CLIENT_DISTRUSTS')

  test('the one that rejects our authority ends its own sharing alone, and is told how to mend it', async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-programs-'))
    const [daemon, tool] = [program('dockerd'), program('docker-buildx')]
    proxy = await startTestProxy(alwaysStatus(200), { conditions })
    const own = join(folder, 'ca.pem')
    writeFileSync(own, proxy.caPem)
    const registry = proxy.registry.config.caFile!
    const isIntercepted = async (executable: string, caFile: string) =>
      (await opensslThrough(proxy, caFile, executable)).includes('Shoal proxy')
    for (let count = 0; count < 3; count++) {
      // First rejected, from then on tunnelled.
      expect(await isIntercepted(tool, registry)).toBe(count === 0)
      expect(await isIntercepted(daemon, own)).toBe(true)
    }
    expect(distrusted()).toMatchObject([
      {
        subject: expect.stringContaining(`${proxy.registry.host}: docker-buildx (${tool}, `),
        facts: { executable: tool, uid: process.getuid!(), mend: expect.stringContaining('SSL_CERT_FILE') },
        count: 1,
      },
    ])
  })

  test('a rejection clears when the program accepts', async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-programs-'))
    const docker = { uid: 0, executable: '/usr/bin/dockerd', unit: 'docker.service' }
    const owners = { userOf: async () => 0, ownerOf: async () => docker }
    const places = { dockerCertsDir: folder, authorityFile: '/ca.crt' }
    proxy = await startTestProxy(alwaysStatus(200), { conditions, owners, places })
    // Intercepted, and in no hurry.
    const { socket } = await openTunnel(proxy.port, proxy.registry.host)
    await opensslThrough(proxy, proxy.registry.config.caFile!)
    await expect.poll(() => distrusted().length).toBe(1)
    const [{ subject, facts }] = distrusted() as [Condition]
    expect(subject).toBe(`${proxy.registry.host}: dockerd (/usr/bin/dockerd, unit docker.service, user 0)`)
    expect(facts).toMatchObject({ ...docker, mend: expect.stringMatching(/shoal\.crt is missing/) })
    const secure = connectTls({ socket, servername: 'localhost', ca: proxy.caPem })
    await once(secure, 'secureConnect')
    await expect.poll(() => distrusted().length).toBe(0)
    secure.destroy()
  })

  test('soon after a restart a rejection is free: the next attempt is intercepted again', async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-programs-'))
    const daemon = program('dockerd')
    proxy = await startTestProxy(alwaysStatus(200), { isRestarted: true })
    const own = join(folder, 'ca.pem')
    writeFileSync(own, proxy.caPem)
    expect(await opensslThrough(proxy, proxy.registry.config.caFile!, daemon)).toContain('Shoal proxy')
    const text = await opensslThrough(proxy, own, daemon)
    expect([text.includes('Shoal proxy'), text.includes('Verify return code: 0 (ok)')]).toEqual([true, true])
  })
})

/** What `openssl s_client` says of a connection to the registry through the proxy, trusting the authorities in `caFile`. */
async function opensslThrough(
  { port, registry }: TestProxy,
  caFile: string,
  executable = 'openssl',
): Promise<string> {
  const through = ['-proxy', `127.0.0.1:${port}`, '-connect', registry.host, '-servername', 'localhost']
  const openssl = spawn(executable, ['s_client', ...through, '-CAfile', caFile, '-verify_return_error'])
  openssl.stdin.end()
  let text = ''
  for (const stream of [openssl.stdout, openssl.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk
    })
  }
  await once(openssl, 'close')
  return text
}

/** The bytes of a ClientHello. */
async function clientHello(ca: string): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1')
  servers.push(server)
  const connection = once(server, 'connection')
  await once(server, 'listening')
  const secure = connectTls({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca,
  })
  secure.on('error', () => {})
  const [socket] = (await connection) as [Socket]
  const [hello] = await once(socket, 'data')
  secure.destroy()
  socket.destroy()
  return hello
}
