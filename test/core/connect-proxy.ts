import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'

/** A company's proxy: the only way to names that nobody else resolves. */
export interface ConnectProxy {
  readonly port: number
  /** Targets of CONNECT requests that were let through, in order. */
  readonly connects: string[]
  /** User-Agent of each of them. */
  readonly agents: (string | undefined)[]
  /** Request lines of plain requests. */
  readonly plain: string[]
  /** Requests without the right password. */
  refused: number
  /** Bytes that came back through its tunnels. */
  bytes: number
  close(): Promise<void>
}

/**
 * Every name leads to the same port of loopback.
 * @param credentials `user:password` that it demands
 */
export async function startConnectProxy(
  options: { credentials?: string; tls?: KeyedCertificate } = {},
): Promise<ConnectProxy> {
  const { credentials, tls } = options
  const wanted = credentials && `Basic ${Buffer.from(credentials).toString('base64')}`
  const sockets = new Set<Socket>()
  const server = tls ? createTlsServer({ cert: tls.certificatePem, key: tls.privateKeyPem }) : createServer()
  const proxy: ConnectProxy = {
    ...{ port: 0, connects: [], agents: [], plain: [], refused: 0, bytes: 0 },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  const mayPass = (authorization: string | undefined) => {
    if (wanted === undefined || authorization === wanted) return true
    proxy.refused += 1
    return false
  }
  server.on('connect', (request, client, head) => {
    client.on('error', () => client.destroy())
    if (!mayPass(request.headers['proxy-authorization'])) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
      return
    }
    proxy.connects.push(request.url!)
    proxy.agents.push(request.headers['user-agent'])
    const upstream = connect(Number(request.url!.split(':').at(-1)), 'localhost', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.write(head)
      client.pipe(upstream).pipe(client)
    })
    sockets.add(client as Socket).add(upstream)
    upstream.on('data', (chunk) => {
      proxy.bytes += chunk.length
    })
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
  })
  server.on('request', (request, response) => {
    if (!mayPass(request.headers['proxy-authorization'])) return void response.writeHead(407).end()
    proxy.plain.push(`${request.method} ${request.url}`)
    response.writeHead(200, { 'content-type': 'text/plain' }).end('through the proxy')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(proxy, { port: (server.address() as AddressInfo).port })
}
