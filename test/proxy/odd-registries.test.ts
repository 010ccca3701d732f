import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import pino from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { type ConditionCode, Conditions } from '../../core/conditions.ts'
import { openRegistries } from '../../core/registry-client.ts'
import { registryConfig } from '../../core/registry-config.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { LATE_MS } from '../../proxy/late-word.ts'
import { type Behave, MIB, type OddField, serve, startOddField } from './odd-field.ts'
import { openTunnel, readAll, startTestProxy } from './test-proxy.ts'

/**
 * What works between Docker and a registry works through the proxy, and is shared. Each registry here behaves as one of the
 * field; the same pull goes to it directly and through two nodes.
 */

let field: OddField | undefined
afterEach(async () => {
  await field?.close()
  field = undefined
})

/** A pull that cannot be shared may be half a second slower than without Shoal: bench:field holds to it. Here others run too. */
const SLOWER_SECONDS_MAX = 1.5
/** A shared pull verifies and stores what it delivers; registry, tracker and both nodes are one process here. */
const SHARED_SLOWER_SECONDS_MAX = 3
/** Of a machine with other work: time bounds are tried again. */
const AGAIN = { timeout: 40_000, retry: 2 }
/** Of both nodes together, in blobs. One is ideal; an answer that is not read to its end has left the registry too. */
const COPIES_MAX = 1.4

async function compare(of: OddField, { path = of.path, slowerSecondsMax = SHARED_SLOWER_SECONDS_MAX } = {}) {
  const direct = await of.direct(path)
  of.sentBytes = 0
  for (const node of [0, 1]) {
    const came = await of.through(node, path)
    expect(came.status).toBe(direct.status)
    expect(came.body.equals(direct.body)).toBe(true)
    expect(came.seconds).toBeLessThan(direct.seconds + slowerSecondsMax)
  }
  return { copies: of.sentBytes / of.blob.bytes.length, direct }
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const isHead = ({ method }: IncomingMessage) => method === 'HEAD'
function ended(
  response: ServerResponse,
  status: number,
  headers: Record<string, string | number> = {},
): true {
  response.writeHead(status, headers).end()
  return true
}
const answers =
  (status: number, headers: Record<string, string | number> = {}): Behave =>
  (request, response) =>
    isHead(request) && ended(response, status, headers)

function manifestOf({ blob }: OddField): string {
  const config = { mediaType: 'c', digest: `sha256:${'0'.repeat(64)}`, size: 2 }
  const layers = [{ mediaType: 'l', digest: blob.digest, size: blob.bytes.length }]
  return JSON.stringify({ schemaVersion: 2, config, layers })
}
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const MANIFEST = '/v2/team/app/manifests/v1'

describe('a registry', AGAIN, () => {
  test.each<[string, Behave, ConditionCode?]>([
    ['as most', () => undefined],
    ['that answers HEAD with 401', answers(401), 'REGISTRY_HEAD_REFUSED'],
    ['that answers HEAD with 403', answers(403), 'REGISTRY_HEAD_REFUSED'],
    ['that answers HEAD with 404', answers(404), 'REGISTRY_HEAD_REFUSED'],
    ['that answers HEAD with 405', answers(405), 'REGISTRY_HEAD_REFUSED'],
    ['that answers HEAD with 501', answers(501), 'REGISTRY_HEAD_REFUSED'],
    [
      'that answers HEAD after three seconds',
      async (request) => {
        if (isHead(request)) await later(3000)
      },
      'REGISTRY_HEAD_REFUSED',
    ],
    [
      'that redirects to the same host, and from there again',
      (request, response, { blob }) => {
        const { url = '' } = request
        if (url.startsWith('/signed')) return
        const location = url.startsWith('/once')
          ? `/signed/${blob.digest}?x=${Date.now()}`
          : `/once/${blob.digest}`
        response.writeHead(url.startsWith('/once') ? 302 : 307, { location }).end()
        return true
      },
    ],
    [
      'that redirects to a store in plain HTTP',
      (_request, response, { blob, storePort }) => {
        response
          .writeHead(307, { location: `http://localhost:${storePort}/bucket/${blob.digest}?sig=1` })
          .end()
        return true
      },
    ],
    [
      'that refuses a Range with 400',
      (request, response) => request.headers.range !== undefined && ended(response, 400),
      'REGISTRY_NO_RANGES',
    ],
    [
      'that refuses a Range with 416',
      (request, response) => request.headers.range !== undefined && ended(response, 416),
      'REGISTRY_NO_RANGES',
    ],
    [
      'that refuses a Range with 501',
      (request, response) => request.headers.range !== undefined && ended(response, 501),
      'REGISTRY_NO_RANGES',
    ],
    [
      'that answers a Range with at most 100 kB',
      (request, response, of) => {
        const [, from] = /^bytes=(\d+)-/.exec(request.headers.range ?? '') ?? []
        if (from === undefined || isHead(request)) return
        const to = Math.min(Number(from) + 100_000, of.blob.bytes.length)
        request.headers.range = `bytes=${from}-${to - 1}`
        return serve(of, request, response)
      },
    ],
    [
      'that sends 64 KiB of headers',
      (_request, response) => {
        response.setHeader('content-security-policy', 'x'.repeat(64 * 1024))
      },
    ],
    [
      'that sends hints before each answer',
      async (_request, response) => {
        await new Promise<void>((resolve) => response.writeEarlyHints({ link: '</x>; rel=preload' }, resolve))
      },
    ],
    [
      'that answers 503 to the first request',
      (_request, response, of) => of.requests.length === 2 && ended(response, 503),
    ],
  ])('%s is shared', async (_name, behave, condition) => {
    field = await startOddField(behave)
    const { copies } = await compare(field)
    expect(copies).toBeLessThan(COPIES_MAX)
    if (condition) expect(field.conditions[0]!.list().map(({ code }) => code)).toContain(condition)
  })

  test('that sends Content-Length and chunks at once is passed on and shared', async () => {
    field = await startOddField((request, _response, of) => {
      const { socket } = request
      const { bytes } = of.blob
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
      )
      if (isHead(request)) {
        socket.end()
        return true
      }
      of.sentBytes += bytes.length
      socket.write(`${bytes.length.toString(16)}\r\n`)
      socket.write(bytes)
      socket.end('\r\n0\r\n\r\n')
      return true
    })
    await compare(field)
    // The registry cannot tell: what undici refuses has left it already.
    const [copy] = field.cluster.nodes[1]!.client.progress()
    expect(copy!.bytesFromPeers).toBe(field.blob.bytes.length)
    const { headers } = await field.through(0, '/v2/other')
    expect([headers['content-length'], headers['transfer-encoding']]).toEqual([undefined, 'chunked'])
  })

  test.each([
    ['zero', 0],
    ['that of half', 1.5 * MIB],
  ])('whose HEAD tells %s is believed what the manifest says', async (_name, length) => {
    field = await startOddField((request, response, of) => {
      if (request.url === MANIFEST) {
        response.writeHead(200, { 'content-type': MANIFEST_TYPE }).end(manifestOf(of))
        return true
      }
      return isHead(request) && ended(response, 200, { 'content-length': length })
    })
    await field.through(0, MANIFEST)
    await field.through(1, MANIFEST)
    expect((await compare(field)).copies).toBeLessThan(COPIES_MAX)
  })

  test('whose first byte of everything takes two seconds is waited for as without Shoal', async () => {
    field = await startOddField(() => later(2000))
    await compare(field, { slowerSecondsMax: SLOWER_SECONDS_MAX })
    expect(field.conditions[0]!.list().map(({ code }) => code)).toContain('REGISTRY_LATE')
  })

  test('whose first byte of everything takes 0.6 s is shared, and is not late', async () => {
    field = await startOddField(() => later(600))
    expect((await compare(field)).copies).toBeLessThan(COPIES_MAX)
    expect(field.conditions[0]!.list().map(({ code }) => code)).not.toContain('REGISTRY_LATE')
  })

  test('that is late is waited for once, and not by each layer', async () => {
    field = await startOddField((request) =>
      isHead(request) || request.headers.range ? later(3000) : undefined,
    )
    await field.through(0)
    // A machine with other work is slow now and then; whoever waits is so each time.
    const seconds: number[] = []
    for (let layer = 0; layer < 3; layer += 1) seconds.push((await field.through(0)).seconds)
    expect(Math.min(...seconds)).toBeLessThan(LATE_MS / 1000)
  })

  test('that was late shares what came directly, once it is quick again', async () => {
    let isLate = true
    field = await startOddField((request) =>
      isLate && (isHead(request) || request.headers.range) ? later(1500) : undefined,
    )
    await field.through(0)
    isLate = false
    const { cluster, blob } = field
    await expect
      .poll(() => cluster.nodes[0]!.client.progress()[0]?.state, { timeout: 10_000 })
      .toBe('complete')
    field.sentBytes = 0
    expect((await field.through(1)).body.equals(blob.bytes)).toBe(true)
    expect(cluster.nodes[1]!.client.progress()[0]!.bytesFromPeers).toBe(blob.bytes.length)
    expect(field.sentBytes).toBe(0)
  })
})

describe('what is spelled or built in its own way', AGAIN, () => {
  test('the namespace that containerd names goes along to the registry, and the blob is shared', async () => {
    field = await startOddField((request, response) => {
      const isOther = request.url!.includes('?') && !request.url!.endsWith('?ns=docker.io')
      return isOther && ended(response, 404)
    })
    expect((await compare(field, { path: `${field.path}?ns=docker.io` })).copies).toBeLessThan(COPIES_MAX)
    expect(field.requests).toContain(`HEAD ${field.path}?ns=docker.io`)
  })

  test('an API below a path is passed through, and shared with nobody: it may be the files of a user', async () => {
    const api = '/artifactory/api/docker/hub-remote'
    field = await startOddField((request, response) => {
      return !request.url!.startsWith(`${api}/v2/`) && ended(response, 404)
    })
    expect((await compare(field, { path: api + field.path })).copies).toBe(2)
    expect((await field.through(0)).status).toBe(404)
  })

  test('a gzip-encoded manifest plans its blobs', async () => {
    field = await startOddField((request, response, of) => {
      const { url } = request
      if (url === MANIFEST) {
        const headers = { 'content-type': MANIFEST_TYPE, 'content-encoding': 'gzip' }
        response.writeHead(200, headers).end(gzipSync(manifestOf(of)))
        return true
      }
      if (!url!.startsWith('/v2/')) return
      // Of this redirect nobody is told the length.
      if (!isHead(request) && request.headers.range === 'bytes=0-0') return ended(response, 404)
      response.writeHead(307, { location: `/store/${of.blob.digest}` }).end()
      return true
    })
    await field.through(0, MANIFEST)
    await field.through(1, MANIFEST)
    expect((await compare(field)).copies).toBeLessThan(COPIES_MAX)
  })

  test('a redirect to where Shoal does not follow is decided at once, and remembered', async () => {
    field = await startOddField(
      (_request, response, { blob, storePort }) => {
        response.writeHead(307, { location: `http://localhost:${storePort}/${blob.digest}` }).end()
        return true
      },
      { config: { permitPrivateRedirects: false } },
    )
    await compare(field, { slowerSecondsMax: SLOWER_SECONDS_MAX })
    expect(field.conditions[0]!.list().map(({ code }) => code)).toContain('REGISTRY_REDIRECT_REFUSED')
  })

  test.each([
    ['capitals', 'LOCALHOST'],
    ['a dot at the end', 'localhost.'],
  ])('a host written with %s is the same registry', async (_name, name) => {
    field = await startOddField(() => undefined)
    const host = field.host.replace('localhost', name)
    await field.through(0, field.path, { host })
    expect(field.requests.filter((line) => line.startsWith('HEAD')).length).toBeGreaterThan(0)
  })
})

test('a token of 40 KiB is passed on and understood', async () => {
  const authorization = `Bearer ${'t'.repeat(40 * 1024)}`
  const blob = Buffer.alloc(5000, 'x')
  const digest = `sha256:${'a'.repeat(64)}`
  const proxy = await startTestProxy((_request, response) => {
    response.writeHead(200, { 'content-length': blob.length }).end(blob)
  })
  try {
    proxy.client.hold(digest, blob)
    const answer = await proxy.ask(`/v2/team/app/blobs/${digest}`, { headers: { authorization } })
    expect((await answer.body.arrayBuffer()).byteLength).toBe(blob.length)
    expect(proxy.client.requests).toHaveLength(1)
    expect(proxy.registry.requests[0]!.authorization).toBe(authorization)
  } finally {
    await proxy.close()
  }
})

test('a registry in plain HTTP is found out before the first client comes, and tunnelled', async () => {
  const plain = createServer((_request, response) => response.end('plain')).listen(0, 'localhost')
  await once(plain, 'listening')
  const host = parseRegistryHost(`localhost:${(plain.address() as AddressInfo).port}`)
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const authority = await ProxyAuthority.make([host])
  const registries = openRegistries([registryConfig.parse({ host, kind: 'none' })])
  const proxy = await startTestProxy(() => undefined, { registries, authority, conditions })
  try {
    const tunnel = await openTunnel(proxy.port, host)
    expect(conditions.list().map(({ code, subject }) => [code, subject])).toEqual([
      ['REGISTRY_PLAIN_HTTP', host],
    ])
    tunnel.socket.write(`GET /v2/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(await readAll(tunnel.socket)).toContain('plain')
    const open = connect(proxy.port, '127.0.0.1')
    open.write(`GET http://${host}/v2/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(await readAll(open)).toContain('plain')
  } finally {
    await proxy.close()
    for (const client of registries.values()) await client.close()
    plain.closeAllConnections()
    plain.close()
  }
})
