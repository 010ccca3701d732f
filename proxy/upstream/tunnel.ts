import { connect, type Socket } from 'node:net'
import { TargetUnreachableError } from '../errors.ts'
import type { CheckedTarget } from './target.ts'

/** How long a connection to a tunnel's target may take, all its addresses together. */
export const TUNNEL_CONNECT_PATIENCE_MS = 10_000
/** After how long the next of several addresses is tried. */
const ADDRESS_PATIENCE_MS = 2500
/** A tunnel in which nothing moved for so long is closed. Longer than the keep-alive of common clients and servers. */
export const TUNNEL_IDLE_MS = 15 * 60_000

/**
 * Connects to a checked target.
 * @throws TargetUnreachableError
 */
export function connectTarget(target: CheckedTarget): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: target.host,
      port: target.port,
      // Only the checked addresses, and each its turn (RFC 8305) where there are several.
      lookup: (_host, _options, callback) => callback(null, target.addresses),
      autoSelectFamily: true,
      // Node's quarter of a second gives up on distant hosts.
      autoSelectFamilyAttemptTimeout: ADDRESS_PATIENCE_MS,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
    })
    const fail = (cause: Error) => {
      socket.destroy()
      reject(new TargetUnreachableError(`cannot connect to ${target.host}:${target.port}`, { cause }))
    }
    const timer = setTimeout(() => fail(new Error('no answer in time')), TUNNEL_CONNECT_PATIENCE_MS)
    socket.once('close', () => clearTimeout(timer))
    socket.once('error', fail)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', fail)
      resolve(socket)
    })
  })
}

/**
 * Joins two connections, bytes unseen. Each direction ends by itself (a client may stop sending and go on reading);
 * an error or idleness on one side ends both.
 * @param head what the client sent right behind its CONNECT request
 */
export function joinSockets(client: Socket, upstream: Socket, head: Buffer): void {
  const end = () => {
    client.destroy()
    upstream.destroy()
  }
  for (const [socket, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    socket.setTimeout(TUNNEL_IDLE_MS, end)
    socket.on('error', end)
    // A close without an end before it: the connection was cut, so nothing more will come or be wanted.
    socket.once('close', () => !(socket.readableEnded && socket.writableFinished) && other.destroy())
  }
  if (head.length > 0) upstream.write(head)
  client.pipe(upstream)
  upstream.pipe(client)
}
