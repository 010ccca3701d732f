import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request as requestPlain, type ServerResponse } from 'node:http'
import { request as requestSecure } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import pino from 'pino'
import { Conditions } from '../../core/conditions.ts'
import { createMetrics } from '../../core/metrics.ts'
import { openRegistries, type RegistryClients } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { type RunningProxy, startProxy } from '../../proxy/proxy.ts'
import { randomBlob, startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'
import { openTunnel } from './test-proxy.ts'

/** A registry that behaves oddly, two whole nodes before it, and a client that goes to it directly or through a node. */

export const MIB = 1024 * 1024
const HEADER_BYTES_MAX = 256 * 1024

/** @returns true if the answer is given, or will be */
export type Behave = (request: IncomingMessage, response: ServerResponse, field: OddField) => unknown

export interface Fetched {
  status: number
  body: Buffer
  headers: IncomingMessage['headers']
  seconds: number
}

export interface OddField {
  cluster: TestCluster
  host: string
  blob: TestBlob
  path: string
  /** Where a store in plain HTTP listens. */
  storePort: number
  conditions: Conditions[]
  habits(node: number): RegistryClients extends ReadonlyMap<unknown, infer Client> ? Client : never
  port(node: number): number
  /** Bytes of blobs that left the registry and its store. */
  sentBytes: number
  requests: string[]
  direct(path?: string, headers?: Record<string, string>): Promise<Fetched>
  through(node: number, path?: string, headers?: Record<string, string>): Promise<Fetched>
  close(): Promise<void>
}

export async function startOddField(
  behave: Behave,
  options: { config?: Partial<RegistryConfig>; blobBytes?: number; behaveAsStore?: Behave } = {},
): Promise<OddField> {
  const cluster = await startTestCluster({ nodes: 0, kind: 'none' })
  const blob = randomBlob(options.blobBytes ?? 3 * MIB)
  const config = { ...cluster.registry.config, permitPrivateRedirects: true, ...options.config }
  const store = createServer(
    { maxHeaderSize: HEADER_BYTES_MAX },
    (request, response) =>
      options.behaveAsStore?.(request, response, field) === true || serve(field, request, response),
  ).listen(0, 'localhost')
  await once(store, 'listening')
  const nodes: { proxy: RunningProxy; registries: RegistryClients; caPem: string }[] = []
  const field: OddField = {
    ...{ cluster, blob, sentBytes: 0, requests: [], conditions: [] },
    host: config.host,
    path: `/v2/team/app/blobs/${blob.digest}`,
    storePort: (store.address() as AddressInfo).port,
    habits: (node) => nodes[node]!.registries.get(config.host)!,
    port: (node) => nodes[node]!.proxy.address.port,
    direct: (path = field.path, headers = {}) => fetchAll(directly(config), path, headers),
    through: (node, path = field.path, headers = {}) => fetchAll(via(nodes[node]!, config), path, headers),
    async close() {
      for (const { proxy, registries } of nodes) {
        await proxy.close()
        for (const client of registries.values()) await client.close()
      }
      store.closeAllConnections()
      store.close()
      await cluster.close()
    },
  }
  cluster.registry.door = async (request, response) => {
    field.requests.push(`${request.method} ${request.url} ${request.headers.range ?? ''}`.trim())
    if ((await behave(request, response, field)) === true) return
    serve(field, request, response)
  }
  for (const name of ['a', 'b']) nodes.push(await startNode(field, name, config))
  return field
}

async function startNode(field: OddField, name: string, config: RegistryConfig) {
  const registries = openRegistries([config])
  const { client } = await field.cluster.addNode({ name, client: { registries } })
  const authority = await ProxyAuthority.make([...registries.keys()])
  const log = pino({ level: process.env.SHOAL_TEST_LOG ?? 'silent' })
  const conditions = new Conditions({ log })
  field.conditions.push(conditions)
  const proxy = await startProxy({
    ...{ client, registries, authority, log, conditions },
    listen: { host: '127.0.0.1', port: 0 },
    publish: () => {},
    p2pMinBytes: 1000,
    permitLinkLocal: false,
    deniedPorts: [],
    metrics: createMetrics(),
  })
  return { proxy, registries, caPem: authority.certificatesPem }
}

/** A blob or a part of it, as an ordinary registry or store gives it. */
export function serve(field: OddField, request: IncomingMessage, response: ServerResponse): true {
  if (!request.url!.includes(field.blob.digest)) return ended(response.writeHead(404))
  const { bytes } = field.blob
  const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const from = Number(asked?.[1] ?? 0)
  const to = Math.min(bytes.length, asked?.[2] ? Number(asked[2]) + 1 : bytes.length)
  response.writeHead(asked ? 206 : 200, {
    'content-length': to - from,
    ...(asked && { 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` }),
  })
  // Whoever has gone is sent nothing.
  if (request.method === 'HEAD' || response.destroyed) return ended(response)
  field.sentBytes += to - from
  response.end(bytes.subarray(from, to))
  return true
}

function ended(response: ServerResponse): true {
  response.end()
  return true
}

interface Route {
  host: string
  /** To a registry by TLS, or to any host in plain. */
  secure(): Promise<Socket>
  plain(host: string, port: number): Promise<Socket>
}

function directly({ host, caFile }: RegistryConfig): Route {
  const port = Number(host.split(':')[1])
  return {
    host,
    async secure() {
      const ca = caFile === undefined ? [] : [readFileSync(caFile)]
      const socket = connectTls({ host: 'localhost', port, servername: 'localhost', ca })
      await once(socket, 'secureConnect')
      return socket
    },
    async plain(name, at) {
      const socket = connect(at, name)
      await once(socket, 'connect')
      return socket
    },
  }
}

function via({ proxy, caPem }: { proxy: RunningProxy; caPem: string }, { host }: RegistryConfig): Route {
  return {
    host,
    async secure() {
      const { socket } = await openTunnel(proxy.address.port, host)
      const secure = connectTls({ socket, servername: 'localhost', ca: caPem })
      await once(secure, 'secureConnect')
      return secure
    },
    plain: async (name, at) => (await openTunnel(proxy.address.port, `${name}:${at}`)).socket,
  }
}

/** Follows redirects and takes lax framing, as Go does. */
async function fetchAll(route: Route, path: string, headers: Record<string, string>): Promise<Fetched> {
  const startedAt = performance.now()
  let url = new URL(`https://${route.host}${path}`)
  for (let hop = 0; hop <= 10; hop++) {
    const answer = await fetchOnce(route, url, hop === 0 ? path : url.pathname + url.search, headers)
    const { location } = answer.headers
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined)
      return { ...answer, seconds: (performance.now() - startedAt) / 1000 }
    url = new URL(location, url)
  }
  throw new Error('stopped after 10 redirects')
}

async function fetchOnce(route: Route, url: URL, path: string, headers: Record<string, string>) {
  const isPlain = url.protocol === 'http:'
  const socket = isPlain ? await route.plain(url.hostname, Number(url.port)) : await route.secure()
  const request = (isPlain ? requestPlain : requestSecure)({
    ...{ path, headers, insecureHTTPParser: true, maxHeaderSize: HEADER_BYTES_MAX },
    host: url.hostname,
    port: url.port,
    createConnection: () => socket,
  })
  request.end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  socket.destroy()
  return { status: answer.statusCode!, headers: answer.headers, body: Buffer.concat(chunks) }
}
