import { once } from 'node:events'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import { z } from 'zod'
import { type ListenAddress, listenAddress } from '../core/config.ts'
import { ensureFolder } from '../core/data-folder.ts'
import { ListenFailedError, type ShoalError } from '../core/errors.ts'
import { addressText, isLoopbackAddress } from '../core/network.ts'
import { parseRegistryHost, type RegistryHost } from '../core/repository.ts'
import { isSocketPathTooLong, removeStaleSocket } from '../core/socket-file.ts'
import { unprivilegedPortsFrom } from '../core/unprivileged-ports.ts'
import { ListenNotLoopbackError } from './errors.ts'
import { listenOnLoopback, loopbackAddress } from './loopback-listener.ts'

/** Where the mirror listens: on loopback, at a Unix socket, or on a descriptor of a socket that somebody else bound. */
export type MirrorSocket = ListenAddress | { path: string } | { fd: number }

/** One listener of the mirror. */
export interface MirrorPlace {
  /** What requests without `ns` are for. Undefined: Docker Hub, as for Docker's `registry-mirrors`. */
  registry?: RegistryHost
  socket: MirrorSocket
}

/** Bound of the mirror's listeners: one for each registry that podman or CRI-O pull from. */
const MIRROR_PLACES_MAX = 16

const PURPOSE = 'mirrorListen'

/**
 * Reads `127.0.0.1:577,registry.example.com=127.0.0.1:578,unix:/run/shoal/mirror.sock`, or `none`.
 * @throws ShoalError for an entry that is none of these
 */
export function parseMirrorPlaces(text: string): MirrorPlace[] {
  if (text.trim() === 'none') return []
  const entries = text.split(',').map((entry) => parsePlace(entry.trim()))
  if (entries.length > MIRROR_PLACES_MAX) throw new RangeError('too many listeners')
  return entries
}

function parsePlace(entry: string): MirrorPlace {
  const [, host, where = ''] = /^(?:([^=]+)=)?([^=]+)$/.exec(entry) ?? []
  const registry = host === undefined ? {} : { registry: parseRegistryHost(host) }
  const path = /^unix:(\/.+)$/.exec(where)?.[1]
  if (path === undefined) return { ...registry, socket: listenAddress.parse(where) }
  if (isSocketPathTooLong(path)) throw new RangeError('the path is too long')
  return { ...registry, socket: { path } }
}

/** The setting `mirrorListen`. */
export const mirrorPlaces = z.string().transform((text, context) => {
  try {
    return parseMirrorPlaces(text)
  } catch {
    const message =
      'expected address:port or unix:/path, with registry= before it, separated by commas, or none'
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  }
})

/** For messages. */
export function placeText(socket: MirrorSocket): string {
  if ('path' in socket) return `unix:${socket.path}`
  return 'fd' in socket ? `descriptor ${socket.fd}` : addressText(socket)
}

/**
 * Before anything else starts.
 * @throws ListenNotLoopbackError
 */
export async function checkMirrorPlaces(places: readonly MirrorPlace[]): Promise<void> {
  for (const { socket } of places) if ('host' in socket) await loopbackAddress(socket.host, PURPOSE)
}

/**
 * Starts a server at a place of the mirror.
 * @returns where it listens now
 * @throws ListenNotLoopbackError, ListenFailedError; DataFolderError if another user may replace the socket
 */
export async function listenAt(server: Server, socket: MirrorSocket): Promise<MirrorSocket> {
  if ('host' in socket) return listenOnLoopback(server, socket, PURPOSE)
  if ('path' in socket) {
    ensureFolder(dirname(socket.path), { mode: 0o755 })
    await removeStaleSocket(socket.path).catch((cause: Error) => {
      throw failed(socket, cause)
    })
    // As a port of loopback: who may pull is for the registry to say.
    server.listen({ path: socket.path, readableAll: true, writableAll: true })
    await listening(server, socket)
    return socket
  }
  server.listen(socket)
  await listening(server, socket)
  const address = server.address()
  if (address === null || typeof address === 'string') return { path: address ?? '' }
  if (isLoopbackAddress(address.address)) return { host: address.address, port: address.port }
  server.close()
  throw new ListenNotLoopbackError(`${PURPOSE}: the socket that was handed over is not on loopback`)
}

async function listening(server: Server, socket: MirrorSocket): Promise<void> {
  await once(server, 'listening').catch((cause: Error) => {
    throw failed(socket, cause)
  })
}

function failed(socket: MirrorSocket, cause: Error): ShoalError {
  return new ListenFailedError(PURPOSE, placeText(socket), cause)
}

/** Whether any local user could take the place while this process does not run, and answer in its stead. */
export function isOpenToUsers(socket: MirrorSocket): boolean {
  return 'port' in socket && socket.port >= unprivilegedPortsFrom()
}
