import net from 'node:net'
import { letCallersWait } from '../../guard/sockets.ts'

interface BoundHandle {
  fd: number
  close(): void
}

const { _createServerHandle: bind } = net as unknown as {
  _createServerHandle: (path: string, port: -1, family: -1) => BoundHandle
}

/** A Unix socket as a service manager holds it: bound, and callers wait, while nobody accepts. */
export function heldSocket(path: string): BoundHandle {
  const handle = bind(path, -1, -1)
  letCallersWait([{ name: 'owners', descriptor: handle.fd }])
  return handle
}
