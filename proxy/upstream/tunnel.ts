import { connect, type Socket } from 'node:net'
import { ADDRESS_PATIENCE_MS } from '../../core/upstream-proxy.ts'
import { TargetUnreachableError } from '../errors.ts'
import type { CheckedTarget } from './target.ts'

/** How long a connection to a tunnel's target may take, for all its addresses together. */
export const TUNNEL_CONNECT_PATIENCE_MS = 10_000
/** A tunnel without traffic for this long is closed. Longer than the keep-alive of common clients and servers. */
export const TUNNEL_IDLE_MS = 15 * 60_000

/**
 * Connects to a checked target.
 * @throws TargetUnreachableError
 */
export async function connectTarget(target: CheckedTarget): Promise<Socket> {
  if (target.via === undefined) return connectDirectly(target)
  try {
    return await target.via.connect(target)
  } catch (cause) {
    throw new TargetUnreachableError((cause as Error).message, { cause })
  }
}

function connectDirectly(target: CheckedTarget): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: target.host,
      port: target.port,
      // Use only the checked addresses, one after the other if there are several (RFC 8305).
      lookup: (_host, _options, callback) => callback(null, target.addresses),
      autoSelectFamily: true,
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
 * Joins two connections without reading the bytes. Each direction ends by itself (a client may stop sending and continue
 * to read). An error or idleness on one side ends both.
 * @param head bytes that the client sent right behind its CONNECT request
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
    // Closed without an end before: the connection was cut, so no more bytes will come or be wanted.
    socket.once('close', () => !(socket.readableEnded && socket.writableFinished) && other.destroy())
  }
  if (head.length > 0) upstream.write(head)
  client.pipe(upstream)
  upstream.pipe(client)
}
