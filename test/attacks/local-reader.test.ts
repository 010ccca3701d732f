import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { BlobRequest } from '../../client/index.ts'
import { openRegistries, REGISTRY_CONNECTIONS_MAX, type RegistryClients } from '../../core/registry-client.ts'
import type { RunningProxy } from '../../proxy/proxy.ts'
import { pullClaims } from '../core/signed-tokens.ts'
import type { Door } from '../core/test-registry.ts'
import { askThrough, openTunnel } from '../proxy/test-proxy.ts'
import { startNodeProxy } from '../pull/node-proxy.ts'
import { pull, randomBlob, startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A local user who asks the proxy for a layer that this node has, and whom the registry would refuse. */
const SECRET = 'team/app'
const OWN = 'evil/own'
const CHUNK = Buffer.alloc(64 * 1024)
const SLOW_READERS = REGISTRY_CONNECTIONS_MAX + 6
/** What a request may take beside slow readers: each that is cut has been unread for a second. */
const REASONABLE_MS = 10_000

let cluster: TestCluster
let registries: RegistryClients
let proxy: RunningProxy
let via: { port: number; host: string; caPem: string }
let secret: TestBlob
let own: TestBlob
let honest: Door
let request: (blob: TestBlob, changes?: Partial<BlobRequest>) => BlobRequest

beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 0 })
  request = cluster.request
  honest = cluster.registry.door
  registries = openRegistries([cluster.registry.config])
  const holder = await cluster.addNode({ client: { registries } })
  secret = cluster.registry.add(randomBlob(3 * 256 * 1024 + 17).bytes, SECRET)
  own = cluster.registry.add(randomBlob(20_000).bytes, OWN)
  await pull(holder, request(secret))
  const started = await startNodeProxy(holder.client, registries)
  proxy = started.proxy
  via = { port: proxy.address.port, host: cluster.registry.host, caPem: started.caPem }
})

afterEach(() => {
  cluster.registry.door = honest
  cluster.registry.isDown = false
})

afterAll(async () => {
  await proxy?.close()
  for (const registry of registries?.values() ?? []) await registry.close()
  await cluster?.close()
})

const tokenFor = (repository: string, changes: Record<string, unknown> = {}) =>
  cluster.signer.sign(pullClaims(repository, changes), { jwk: cluster.signer.publicJwk })

/** Asks for the secret layer; what comes of it is counted. */
async function steal(token: string | undefined): Promise<number> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const { status, body } = await askThrough(via, { path: `/v2/${SECRET}/blobs/${secret.digest}`, headers })
  if (body.equals(secret.bytes)) loot.bytes += body.length
  return status
}

/** Refuses one token although it is signed well, as a registry does whose account was closed. */
const refusing =
  (token: string): Door =>
  (asked: IncomingMessage, response: ServerResponse) => {
    if (asked.headers.authorization !== `Bearer ${token}`) return endless(asked, response)
    response.writeHead(401).end()
  }

/** Of the answers without end so far. */
let chunks = 0

/** The attacker's own repository has an answer without end. */
const endless: Door = (asked, response) => {
  if (!asked.url?.startsWith(`/v2/${OWN}/blobs/endless`)) return honest(asked, response)
  const body = new Readable({
    read() {
      chunks += 1
      this.push(CHUNK)
    },
  })
  body.on('error', () => undefined).pipe(response.writeHead(200))
}

controlTest('a token that the registry accepted before is served while the registry is away', async () => {
  const token = tokenFor(SECRET)
  await askThrough(via, {
    path: `/v2/${SECRET}/blobs/${secret.digest}`,
    headers: { authorization: `Bearer ${token}` },
  })
  cluster.registry.isDown = true
  expect(await steal(token)).toBe(200)
})

attackTest('a layer that a manifest of the attacker’s own repository names', async () => {
  const token = tokenFor(OWN)
  const headers = { authorization: `Bearer ${token}` }
  const sized = (blob: TestBlob) => ({ digest: blob.digest, size: blob.bytes.length })
  const manifest = JSON.stringify({ schemaVersion: 2, config: sized(own), layers: [own, secret].map(sized) })
  // Not every registry checks what a manifest names.
  cluster.registry.door = (asked, response) => {
    if (!asked.url?.startsWith(`/v2/${OWN}/manifests/`)) return honest(asked, response)
    response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }).end(manifest)
  }
  expect((await askThrough(via, { path: `/v2/${OWN}/manifests/v1`, headers })).status).toBe(200)
  expect((await askThrough(via, { path: `/v2/${OWN}/blobs/${own.digest}`, headers })).status).toBe(200)
  const { status, body } = await askThrough(via, { path: `/v2/${OWN}/blobs/${secret.digest}`, headers })
  if (body.equals(secret.bytes)) loot.bytes += body.length
  expect(status).toBe(404)
})

attackTest('a token with a good signature that the registry refused, once the registry is away', async () => {
  const token = tokenFor(SECRET)
  cluster.registry.door = refusing(token)
  expect(await steal(token)).toBe(401)
  cluster.registry.door = honest
  cluster.registry.isDown = true
  expect(await steal(token)).toBe(502)
})

attackTest('a token with a good signature that was never shown to the registry, which is away', async () => {
  cluster.registry.isDown = true
  expect(await steal(tokenFor(SECRET))).toBe(502)
})

attackTest('the same where the registry answers with an error of its own', async () => {
  cluster.registry.door = (_, response) => void response.writeHead(503).end()
  expect(await steal(tokenFor(SECRET))).toBe(503)
})

attackTest('a token that was accepted for the attacker’s own repository only', async () => {
  const token = tokenFor(OWN)
  const path = `/v2/${OWN}/blobs/${own.digest}`
  const answer = await askThrough(via, { path, headers: { authorization: `Bearer ${token}` } })
  expect(answer.body.equals(own.bytes)).toBe(true)
  cluster.registry.isDown = true
  expect(await steal(token)).toBe(502)
})

attackTest(
  'an accepted token with another signature, as a peer could make it of what it was shown',
  async () => {
    const token = tokenFor(SECRET)
    await askThrough(via, {
      path: `/v2/${SECRET}/blobs/${secret.digest}`,
      headers: { authorization: `Bearer ${token}` },
    })
    cluster.registry.isDown = true
    expect(await steal(`${token.slice(0, token.lastIndexOf('.'))}.${'A'.repeat(86)}`)).toBe(502)
  },
)

attackTest('a token that was accepted and has ended', async () => {
  const token = tokenFor(SECRET, { exp: Math.floor(Date.now() / 1000) + 3 })
  await askThrough(via, {
    path: `/v2/${SECRET}/blobs/${secret.digest}`,
    headers: { authorization: `Bearer ${token}` },
  })
  cluster.registry.isDown = true
  await new Promise((resolve) => setTimeout(resolve, 3200))
  expect(await steal(token)).toBe(502)
})

attackTest('no credential at all, with the registry away', async () => {
  cluster.registry.isDown = true
  expect(await steal(undefined)).toBe(502)
})

/** Readers that ask for much and read nothing: of as many as there are connections the answers stand still. */
async function holdReaders(): Promise<TLSSocket[]> {
  cluster.registry.door = endless
  const readers = await Promise.all(
    Array.from({ length: SLOW_READERS }, async () => {
      const { socket } = await openTunnel(via.port, via.host)
      const secure = connect({ socket, servername: 'localhost', ca: via.caPem })
      await once(secure, 'secureConnect')
      secure.on('error', () => undefined).pause()
      secure.write(`GET /v2/${OWN}/blobs/endless HTTP/1.1\r\nHost: ${via.host}\r\n\r\n`)
      return secure
    }),
  )
  // Until all buffers on the way are full.
  for (let before = -1; before !== chunks; await new Promise((resolve) => setTimeout(resolve, 400))) {
    before = chunks
  }
  return readers
}

attackTest('readers that read nothing do not make the registry seem away', async () => {
  const readers = await holdReaders()
  const token = tokenFor(SECRET)
  cluster.registry.door = refusing(token)
  const startedMs = performance.now()
  expect(await steal(token)).toBe(401)
  expect(performance.now() - startedMs).toBeLessThan(REASONABLE_MS)
  for (const reader of readers) reader.destroy()
})

test('beside readers that read nothing others are answered in reasonable time', async () => {
  const readers = await holdReaders()
  const startedMs = performance.now()
  const [ping, blob, direct] = await Promise.all([
    askThrough(via, { path: '/v2/' }),
    askThrough(via, {
      path: `/v2/${SECRET}/blobs/${secret.digest}`,
      headers: { authorization: `Bearer ${tokenFor(SECRET)}` },
    }),
    askThrough(via, {
      path: `/v2/${SECRET}/blobs/${secret.digest}?past=the-swarm`,
      headers: { authorization: `Bearer ${tokenFor(SECRET)}` },
    }),
  ])
  const tookMs = performance.now() - startedMs
  for (const reader of readers) reader.destroy()
  expect([ping.status, blob.status, direct.status]).toEqual([401, 200, 404])
  expect(blob.body.equals(secret.bytes)).toBe(true)
  expect(tookMs).toBeLessThan(REASONABLE_MS)
}, 60_000)
