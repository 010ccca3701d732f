import { chmodSync, chownSync, lstatSync } from 'node:fs'
import type { Server } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { NODE_DATA_DIR } from '../core/consent.ts'
import { ensureFolder } from '../core/data-folder.ts'
import { isSystemError } from '../core/defects.ts'
import { readIfThere } from '../core/read-if-there.ts'
import {
  isSocketPathTooLong,
  listenOwnerOnly,
  removeStaleSocket,
  SOCKET_PATH_BYTES_MAX,
} from '../core/socket-file.ts'
import { LocalSocketError } from './errors.ts'

/** Where the local API listens, and who may open its socket: the node's user, root, and members of the group `shoal`. */

/** Where the packages' node has its socket: the service manager makes the folder. */
export const RUN_DIR = '/run/shoal'
export const SOCKET_FILE = 'shoal.sock'
/** Whose members may use the local API, beside the node's user and root. The packages make it. */
export const SOCKET_GROUP = 'shoal'

const OWNER_ONLY = 0o600
const OWNER_AND_GROUP = 0o660

export interface SocketSettings {
  localSocket?: string | undefined
  dataDir: string
}

/**
 * In /run/shoal for the node of a package, and for root's node with the data folder of a package; elsewhere in the data
 * folder, so that two nodes of one machine do not meet.
 * @param runtimeDirectory RUNTIME_DIRECTORY of the service manager (systemd.exec(5))
 */
export function localSocketPath(
  { localSocket, dataDir }: SocketSettings,
  { runtimeDirectory = '', isRoot }: { runtimeDirectory: string | undefined; isRoot: boolean },
): string {
  if (localSocket !== undefined) return resolve(localSocket)
  const isOfPackage = runtimeDirectory.split(':').includes(RUN_DIR)
  if (isOfPackage || (isRoot && resolve(dataDir) === NODE_DATA_DIR)) return join(RUN_DIR, SOCKET_FILE)
  return resolve(dataDir, SOCKET_FILE)
}

/**
 * Nobody else can connect at any moment: the socket is its owner's alone until its group is right.
 * @throws LocalSocketError; DataFolderError if another user may replace the socket
 */
export async function listenAtSocket(server: Server, path: string): Promise<void> {
  if (isSocketPathTooLong(path)) {
    throw new LocalSocketError(`localSocket: ${path} is too long for a socket`, {
      hint: `Name a path of at most ${SOCKET_PATH_BYTES_MAX} bytes with --local-socket.`,
    })
  }
  ensureFolder(dirname(path), { mode: 0o755 })
  const failed = (cause: Error) =>
    new LocalSocketError(`localSocket cannot be at ${path}: ${cause.message}`, {
      cause,
      hint: 'Another node may use it. Stop that node, or name another path with --local-socket.',
    })
  try {
    await removeStaleSocket(path)
    await listenOwnerOnly(server, path)
    openToGroup(path)
  } catch (error) {
    server.close()
    throw failed(error as Error)
  }
}

/** Only to the group of that name: the node's own may be one that all people of the machine are in. */
function openToGroup(path: string): void {
  const group = groupId(readIfThere('/etc/group') ?? '', SOCKET_GROUP)
  if (group === undefined) return
  const { uid, gid } = lstatSync(path)
  try {
    if (gid !== group) chownSync(path, uid, group)
    chmodSync(path, OWNER_AND_GROUP)
  } catch (error) {
    if (!isSystemError(error)) throw error
    // A user who is not in the group cannot give the socket to it.
    chmodSync(path, OWNER_ONLY)
  }
}

/** Of group(5). */
export function groupId(text: string, name: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${name}:`))
  const id = line?.split(':')[2]
  return id === undefined || !/^\d+$/.test(id) ? undefined : Number(id)
}
