import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Door } from '../core/test-registry.ts'
import { startTestProxy, type TestProxy } from './test-proxy.ts'

/** A pull through the real proxy, as its record tells it. */

const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const type = (name: string) => `application/vnd.oci.image.${name}.v1+json`
const [shared, direct, small] = [randomBytes(50_000), randomBytes(40_000), randomBytes(100)]
const descriptor = (bytes: Buffer) => ({ digest: digestOf(bytes), size: bytes.length })
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    config: descriptor(small),
    layers: [descriptor(shared), descriptor(direct)],
  }),
)
const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [descriptor(manifest)] }))
const headers = { authorization: 'Bearer good' }

const served = new Map<string, { body: Buffer; type: string }>([
  ['manifests/v1', { body: index, type: type('index') }],
  [`manifests/${digestOf(index)}`, { body: index, type: type('index') }],
  [`manifests/${digestOf(manifest)}`, { body: manifest, type: type('manifest') }],
  ...[shared, direct, small].map(
    (body) => [`blobs/${digestOf(body)}`, { body, type: 'application/octet-stream' }] as const,
  ),
])
const door: Door = (request, response) => {
  const found = served.get(request.url!.replace('/v2/team/app/', ''))
  if (found === undefined) return void response.writeHead(404).end()
  if (request.headers.authorization !== headers.authorization) return void response.writeHead(401).end()
  const { body } = found
  response.writeHead(200, {
    'content-type': found.type,
    'content-length': body.length,
    'docker-content-digest': digestOf(body),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

let proxy: TestProxy
beforeEach(async () => {
  proxy = await startTestProxy(door)
})
afterEach(() => proxy.close())

async function ask(path: string, method: 'GET' | 'HEAD' = 'GET'): Promise<Buffer> {
  const answer = await proxy.ask(`/v2/team/app/${path}`, { method, headers })
  return Buffer.from(await answer.body.arrayBuffer())
}

test.each([
  ['asked for by its tag, then its digest', ['HEAD manifests/v1', `GET manifests/${digestOf(index)}`]],
  ['asked for by its tag', ['GET manifests/v1']],
])('an image %s is recorded under its tag, with the way of each layer', async (_how, questions) => {
  proxy.client.hold(digestOf(shared), shared)
  for (const question of questions) {
    const [method, path] = question.split(' ') as ['GET' | 'HEAD', string]
    await ask(path, method)
  }
  await ask(`manifests/${digestOf(manifest)}`)
  for (const blob of [small, shared, direct])
    expect((await ask(`blobs/${digestOf(blob)}`)).equals(blob)).toBe(true)
  await expect.poll(() => proxy.records.list()[0]?.outcome).toBe('done')
  const none = { peers: 0, registry: 0, cache: 0, passedThrough: 0 }
  expect(proxy.records.list()).toMatchObject([
    {
      registry: proxy.registry.host,
      repository: 'team/app',
      reference: 'v1',
      digest: digestOf(manifest),
      bytes: { ...none, peers: shared.length, passedThrough: direct.length + small.length },
      reasons: ['BLOB_SMALL', 'TRACKER_UNAVAILABLE'],
      layers: [
        { digest: digestOf(small), reasons: ['BLOB_SMALL'], bytes: { ...none, passedThrough: small.length } },
        {
          digest: digestOf(shared),
          size: shared.length,
          reasons: [],
          bytes: { ...none, peers: shared.length },
        },
        { digest: digestOf(direct), reasons: ['TRACKER_UNAVAILABLE'] },
      ],
    },
  ])
  const warned = proxy.logged.find(({ code }) => code === 'TRACKER_UNAVAILABLE')
  expect(warned).toMatchObject({ pullId: proxy.records.list()[0]!.id })
})

test('a pull whose layers all fall back for one reason costs one line of the log, and each layer has the reason', async () => {
  await ask(`manifests/${digestOf(manifest)}`)
  await Promise.all([shared, direct].map((blob) => ask(`blobs/${digestOf(blob)}`)))
  await expect.poll(() => proxy.records.list()[0]?.outcome).toBe('done')
  expect(proxy.records.list()[0]!.layers.map(({ reasons }) => reasons)).toEqual([
    ['TRACKER_UNAVAILABLE'],
    ['TRACKER_UNAVAILABLE'],
  ])
  const lines = proxy.logged.filter(({ code }) => code === 'TRACKER_UNAVAILABLE')
  expect(lines.filter(({ level }) => level === 'warn' || level === 40)).toHaveLength(1)
})

test('a pull that the client leaves is interrupted, and one that is cut short has failed', async () => {
  const left = Promise.withResolvers<void>()
  proxy.client.held.set(digestOf(shared), {
    bytes: shared.length,
    async *read() {
      yield shared.subarray(0, 100)
      await left.promise
    },
  })
  const answer = await proxy.ask(`/v2/team/app/blobs/${digestOf(shared)}`, { headers })
  answer.body.on('error', () => {}).destroy()
  await new Promise((resolve) => setTimeout(resolve, 50))
  left.resolve()
  await expect.poll(() => proxy.records.list()[0]?.outcome).toBe('interrupted')
  proxy.client.held.set(digestOf(direct), {
    bytes: direct.length,
    async *read() {
      yield direct.subarray(0, 100)
    },
  })
  await expect(ask(`blobs/${digestOf(direct)}`)).rejects.toThrow()
  expect(proxy.records.list()[0]).toMatchObject({ outcome: 'failed', reasons: ['BLOB_SHORT'] })
})
