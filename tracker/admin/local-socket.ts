import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { ConfigError } from '../../core/config.ts'
import { isSocketPathTooLong, listenOwnerOnly, SOCKET_PATH_BYTES_MAX } from '../../core/socket-file.ts'

/**
 * Listens on a Unix socket that only this process's user and root can connect to.
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
  await listenOwnerOnly(server, path)
}
