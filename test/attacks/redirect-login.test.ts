import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, expect } from 'vitest'
import { askThrough, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/**
 * A registry, or an ingress before it, that sends whoever it does not know to a login page, and a local user who asks
 * for a layer that this node has. The layer's length is known from a manifest that somebody else pulled.
 */
const layer = randomBytes(300_000)
const digest = `sha256:${createHash('sha256').update(layer).digest('hex')}`
const PATH = `/v2/team/app/blobs/${digest}`
const GOOD = 'Bearer good'
const manifest = JSON.stringify({
  schemaVersion: 2,
  config: { mediaType: 'c', digest: `sha256:${'0'.repeat(64)}`, size: 2 },
  layers: [{ mediaType: 'l', digest, size: layer.length }],
})

let proxy: TestProxy
afterEach(() => proxy.close())

type Answer = (response: ServerResponse) => void
const login: Answer = (response) => response.writeHead(302, { location: 'https://sso.example/login' }).end()
const moved: Answer = (response) => response.writeHead(308, { location: 'https://new.example/' }).end()
const refusal: Answer = (response) =>
  response.writeHead(401, { 'www-authenticate': 'Bearer realm="x"' }).end()
/** HTML of no stated length, and of one. */
const page: Answer = (response) => response.writeHead(200, { 'content-type': 'text/html' }).end()
const longPage: Answer = (response) =>
  response
    .writeHead(200, { 'content-length': 5000 })
    .end(Buffer.alloc(response.req.method === 'GET' ? 5000 : 0))
const store: Answer = (response) => response.writeHead(307, { location: 'https://store.example/' }).end()

/** A cluster node's proxy that holds the layer, after an honest pull of the manifest. */
async function start(answers: { stranger: Answer; wrong?: Answer }): Promise<void> {
  const { stranger, wrong = stranger } = answers
  proxy = await startTestProxy((request: IncomingMessage, response) => {
    const { authorization } = request.headers
    if (authorization === undefined) return stranger(response)
    if (authorization !== GOOD) return wrong(response)
    if (request.url === PATH) return store(response)
    response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }).end(manifest)
  })
  proxy.client.hold(digest, layer)
  const headers = { authorization: GOOD }
  await askThrough(via(), { path: '/v2/team/app/manifests/v1', headers })
}

const via = () => ({ port: proxy.port, host: proxy.registry.host, caPem: proxy.caPem })

async function steal(headers: Record<string, string>): Promise<void> {
  const { body } = await askThrough(via(), { path: PATH, headers })
  if (body.equals(layer)) loot.bytes += body.length
  expect(proxy.client.opened).toEqual([])
}

controlTest(
  'where strangers are refused, a redirect lets in who brings what the registry takes',
  async () => {
    await start({ stranger: refusal })
    const { body } = await askThrough(via(), { path: PATH, headers: { authorization: GOOD } })
    expect(body.equals(layer)).toBe(true)
    loot.bytes += body.length
  },
)

for (const [what, answer] of [
  ['a login page by redirect', login],
  ['another host by redirect', moved],
  ['a login page', page],
] as const) {
  attackTest(`${what}, for no credential`, async () => {
    await start({ stranger: answer })
    await steal({})
  })

  attackTest(`${what}, for a made-up credential like for none`, async () => {
    await start({ stranger: answer })
    await steal({ authorization: 'Bearer made-up' })
    await steal({ authorization: 'Basic bWFkZTp1cA==' })
  })

  attackTest(`${what}, for no credential, after strangers were refused`, async () => {
    let isMoved = false
    await start({ stranger: (response) => (isMoved ? answer(response) : refusal(response)) })
    await (await proxy.ask(PATH, { headers: { authorization: GOOD } })).body.dump()
    proxy.client.opened.length = 0
    isMoved = true
    await steal({})
  })
}

attackTest(
  'a login page that states its length leads to no blob, although a manifest told another length',
  async () => {
    await start({ stranger: longPage })
    const { body } = await askThrough(via(), { path: PATH })
    if (body.equals(layer)) loot.bytes += body.length
    expect(proxy.client.requests).toEqual([])
  },
)
