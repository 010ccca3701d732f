import { once } from 'node:events'
import { lstatSync, rmSync } from 'node:fs'
import { connect, type Server } from 'node:net'

/** Unix sockets as files: how long their names may be, who may connect, and what a killed process leaves behind. */

/** Linux's bound of a socket's path (unix(7): sun_path has 108 bytes, one of them for the end). */
export const SOCKET_PATH_BYTES_MAX = 107

/** Read and write for the owner only: write permission on a socket permits connecting to it. */
const OWNER_ONLY_UMASK = 0o177

export function isSocketPathTooLong(path: string): boolean {
  return Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX
}

/**
 * Removes a socket on which nobody listens any more.
 * @throws Error if somebody does, or if something other than a socket is there
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error('something else is there')
  const probe = connect({ path })
  const isUsed = await once(probe, 'connect').then(
    () => true,
    // A full queue means that somebody has the socket, and does not keep up.
    (error: NodeJS.ErrnoException) => error.code === 'EAGAIN',
  )
  probe.destroy()
  if (isUsed) throw new Error('another process listens there')
  rmSync(path, { force: true })
}

/**
 * Listens on a Unix socket that only this process's user and root can connect to. The mode is right from the first
 * moment: others could connect to a socket before its mode is restricted.
 */
export async function listenOwnerOnly(server: Server, path: string): Promise<void> {
  const isListening = once(server, 'listening')
  const umask = process.umask(OWNER_ONLY_UMASK)
  try {
    // listen() binds before it returns.
    server.listen(path)
  } finally {
    process.umask(umask)
  }
  await isListening
}
