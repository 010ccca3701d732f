import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { plainAddress } from '../../core/network.ts'

/** Of connections that a balancer opened, for whom. */
const sources = new WeakMap<TLSSocket, string>()

export function noteSource(socket: TLSSocket, source: string): void {
  sources.set(socket, source)
}

/** The address of the caller: its own, or the one that a configured balancer names. */
export function sourceOf(socket: TLSSocket | Socket): string {
  return sources.get(socket as TLSSocket) ?? plainAddress(socket.remoteAddress ?? '')
}
