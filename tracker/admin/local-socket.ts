import { once } from 'node:events'
import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { ConfigError } from '../../core/config.ts'
import { isSocketPathTooLong, SOCKET_PATH_BYTES_MAX } from '../../core/socket-file.ts'

/** Read and write for the owner only: write permission on a socket permits connecting to it. */
const OWNER_ONLY_UMASK = 0o177

/**
 * Listens on a Unix socket that only this process's user and root can connect to. The mode is right from the first
 * moment: others could connect to a socket before its mode is restricted.
 * @throws ConfigError when the path is too long for a socket
 */
export async function listenLocally(server: Server, path: string): Promise<void> {
  if (isSocketPathTooLong(path)) {
    throw new ConfigError(`dataDir: ${path} is too long for a socket (${SOCKET_PATH_BYTES_MAX} bytes)`, {
      hint: 'Name a folder with a shorter path with --data-dir; move the data there if there is any.',
    })
  }
  // Removes the socket of a killed process: the data folder's lock proves that there is no other owner.
  rmSync(path, { force: true })
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
