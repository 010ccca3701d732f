import { spawnSync } from 'node:child_process'
import net from 'node:net'
import { getSystemErrorMessage } from 'node:util'
import type { ListenAddress } from '../core/config.ts'
import { ListenFailedError, ShoalError } from '../core/errors.ts'
import { isLoopbackAddress } from '../core/network.ts'

/** The guard was started wrongly: print message and hint, and exit with 2. */
export class GuardError extends ShoalError {
  readonly code = 'GUARD'
}

/** No guard answers at its socket: print message and hint. */
export class GuardDownError extends ShoalError {
  readonly code = 'GUARD_DOWN'
}

/** The guard's node takes long to end: print message and hint. */
export class GuardBusyError extends ShoalError {
  readonly code = 'GUARD_BUSY'
}

/** The first descriptor that a service manager passes on (sd_listen_fds(3), SD_LISTEN_FDS_START). */
const FIRST_PASSED = 3
/** Bound of the sockets that a service manager may pass. */
const PASSED_MAX = 16

/** How long the process that only listens may take. */
const LISTEN_PATIENCE_MS = 5_000

/** A socket that this process owns and never accepts on. */
export interface OwnedSocket {
  name: string
  descriptor: number
}

/**
 * The sockets that the service manager passed on, in sd_listen_fds(3)'s environment.
 * @throws GuardError for an environment that makes no sense
 */
export function passedSockets(env: NodeJS.ProcessEnv, pid: number): OwnedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = env
  if (LISTEN_FDS === undefined || Number(LISTEN_PID) !== pid) return []
  const count = Number(LISTEN_FDS)
  const names = LISTEN_FDNAMES.split(':')
  if (!(count >= 1 && count <= PASSED_MAX) || names.length !== count) {
    throw new GuardError(`the service manager passed ${count} sockets with ${names.length} names`, {
      hint: 'Give each socket unit one FileDescriptorName: proxy or mirror.',
    })
  }
  return names.map((name, index) => ({ name, descriptor: FIRST_PASSED + index }))
}

/** Node's own way to bind without listening, as its cluster module uses it: a server of its own would accept. */
const { _createServerHandle: bind } = net as unknown as {
  _createServerHandle: (host: string, port: number, family: 4 | 6) => BoundHandle | number
}

interface BoundHandle {
  fd: number
  /** @returns a system error, below 0, which libuv keeps from `bind` until now: that the address is in use */
  getsockname(name: object): number
}

/** Handles that are alive as long as this process: without a reference the socket would be closed. */
const kept: BoundHandle[] = []

/** listen(2), and nothing else: the process ends before its loop could accept. */
const listenAlone = (descriptors: number[]) =>
  `for (const fd of [${descriptors}]) require('net').createServer().listen({ fd }); process.exit()`

/**
 * Lets callers wait in the kernel's queue from now on. Node can listen only where it also accepts, so a process that
 * lives 40 ms does it; what it did stays with the socket. Without it callers are refused until the relay has started.
 */
export function letCallersWait(sockets: readonly OwnedSocket[]): void {
  const numbers = sockets.map((_, index) => FIRST_PASSED + index)
  // If it fails, the relay listens a moment later.
  spawnSync(process.execPath, ['-e', listenAlone(numbers)], {
    stdio: ['ignore', 'ignore', 'ignore', ...sockets.map(({ descriptor }) => descriptor)],
    timeout: LISTEN_PATIENCE_MS,
  })
}

/**
 * Binds a socket for the children to listen on.
 * @throws GuardError unless the host is a loopback address, ListenFailedError
 */
export function ownSocket(name: string, { host, port }: ListenAddress): OwnedSocket {
  if (!isLoopbackAddress(host)) {
    throw new GuardError(`--${name}-listen is not a loopback address: ${host}`, {
      hint: 'Use 127.0.0.1 or ::1: Shoal treats everyone who can reach it as a user of this machine.',
    })
  }
  const handle = bind(host, port, net.isIPv6(host) ? 6 : 4)
  const status = typeof handle === 'number' ? handle : handle.getsockname({})
  if (typeof handle === 'number' || status < 0) {
    throw new ListenFailedError(`--${name}-listen`, { host, port }, new Error(getSystemErrorMessage(status)))
  }
  kept.push(handle)
  return { name, descriptor: handle.fd }
}
