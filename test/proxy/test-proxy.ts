import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { Agent, type Dispatcher } from 'undici'
import { createLog } from '../../core/log.ts'
import { createMetrics, type Metrics } from '../../core/metrics.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import type { MirrorSocket } from '../../proxy/mirror-place.ts'
import { type ProxyOptions, startProxy } from '../../proxy/proxy.ts'
import { PullRecords } from '../../proxy/pull-records.ts'
import { type Door, startTestRegistry, type TestRegistry } from '../core/test-registry.ts'
import { FakeClient } from './fake-client.ts'

export const P2P_MIN_BYTES = 1000

export interface TestProxy {
  port: number
  mirrorSockets: readonly MirrorSocket[]
  registry: TestRegistry
  client: FakeClient
  caPem: string
  metrics: Metrics
  records: PullRecords
  /** Parsed log lines so far. */
  logged: Record<string, unknown>[]
  /** A request through the proxy, as Docker makes it. */
  ask(path: string, options?: AskOptions): Promise<Dispatcher.ResponseData>
  /** A TLS connection to the registry through the proxy, for what no HTTP client would send. */
  secure(): Promise<TLSSocket>
  close(): Promise<void>
}

type AskOptions = Partial<Omit<Dispatcher.RequestOptions, 'path' | 'origin'>>

/** A registry whose answers are the test's, a client that holds what the test gives it, and the real proxy between. */
export async function startTestProxy(
  door: Door,
  changes: Partial<ProxyOptions> | ((registry: TestRegistry) => Partial<ProxyOptions>) = {},
): Promise<TestProxy> {
  const registry = await startTestRegistry(door)
  const given = typeof changes === 'function' ? changes(registry) : changes
  const client = new FakeClient()
  const metrics = createMetrics()
  const records = new PullRecords()
  const logged: TestProxy['logged'] = []
  const authority = await ProxyAuthority.make([...(given.registries ?? registry.clients).keys()])
  const proxy = await startProxy({
    listen: { host: '127.0.0.1', port: 0 },
    client,
    registries: registry.clients,
    authority,
    publish: () => {},
    p2pMinBytes: P2P_MIN_BYTES,
    permitLinkLocal: false,
    deniedPorts: [],
    metrics,
    records,
    log: createLog({
      level: 'debug',
      name: 'test',
      destination: { write: (line) => logged.push(JSON.parse(line)) },
    }),
    ...given,
  })
  const { port } = proxy.address
  const { mirrorSockets } = proxy
  let closing: Promise<void> | undefined
  const close = async () => {
    await agent.destroy()
    await proxy.close()
    await registry.close()
  }
  const caPem = authority.certificatesPem
  const secure = () => secureThrough(port, registry.host, caPem)
  const agent = agentOver(secure)
  return {
    ...{ port, mirrorSockets, registry, client, caPem, metrics, records, logged, secure },
    // Not a URL: those are normalised.
    ask: (path, options = {}) =>
      agent.request({ origin: `https://${registry.host}`, path, method: 'GET', ...options }),
    close() {
      closing ??= close()
      return closing
    },
  }
}

function agentOver(secure: () => Promise<TLSSocket>): Agent {
  return new Agent({
    connect: (_options, callback) => {
      secure().then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      )
    },
  })
}

interface AskThrough {
  path: string
  headers?: Record<string, string>
  method?: string
  body?: string | Buffer
}

/** One request through any proxy, a GET unless said otherwise, in a connection of its own. @returns an empty body when the answer breaks off */
export async function askThrough(
  proxy: { port: number; host: string; caPem: string },
  { path, headers = {}, method = 'GET', body }: AskThrough,
): Promise<{ status: number; headers: Dispatcher.ResponseData['headers']; body: Buffer }> {
  const agent = agentOver(() => secureThrough(proxy.port, proxy.host, proxy.caPem))
  try {
    const origin = `https://${proxy.host}`
    const answer = await agent.request({ origin, path, method, headers, body: body || null })
    const answered = await answer.body.arrayBuffer().catch(() => new ArrayBuffer(0))
    return { status: answer.statusCode, headers: answer.headers, body: Buffer.from(answered) }
  } finally {
    await agent.destroy()
  }
}

/** CONNECT, then TLS that trusts `caPem` and nothing else. */
async function secureThrough(port: number, target: string, caPem: string): Promise<TLSSocket> {
  const { socket } = await openTunnel(port, target)
  const secure = connectTls({ socket, servername: 'localhost', ca: caPem, ALPNProtocols: ['http/1.1'] })
  await once(secure, 'secureConnect')
  return secure
}

export interface Tunnel {
  status: number
  /** Status line and headers; for a refusal the body too. */
  text: string
  socket: Socket
}

/** Sends CONNECT and reads the answer's head; of a refusal, all of it. */
export async function openTunnel(port: number, target: string, userAgent = 'test'): Promise<Tunnel> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nUser-Agent: ${userAgent}\r\n\r\n`)
  let text = ''
  while (!text.includes('\r\n\r\n')) {
    const [chunk] = await once(socket, 'data')
    text += chunk.toString('latin1')
  }
  const status = Number(text.split(' ')[1])
  const rest = text.slice(text.indexOf('\r\n\r\n') + 4)
  if (status === 200 && rest !== '') socket.unshift(Buffer.from(rest, 'latin1'))
  if (status !== 200) for await (const chunk of socket) text += chunk.toString('latin1')
  return { status, text, socket }
}

/** Everything that a connection yields until it ends or is cut. */
export async function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  socket.on('error', () => {})
  if (!socket.closed) await once(socket, 'close')
  return text
}

/** The OCI error code of an answer's body. */
export async function codeOf(answer: Dispatcher.ResponseData): Promise<string> {
  const body = (await answer.body.json()) as { errors: { code: string }[] }
  return body.errors[0]!.code
}
