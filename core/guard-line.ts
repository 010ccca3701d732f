import { Socket } from 'node:net'

/**
 * What a guard and its child tell each other. The child finds in its environment which descriptors are the guard's
 * sockets, by name, and which one is the line to the guard. Words on the line: `ready` (it accepts), `leaving` (it will
 * accept no more). The line ends with the guard.
 */

/** `proxy=3,mirror=4`. */
export const SOCKETS_VARIABLE = 'SHOAL_GUARD_SOCKETS'
/** The descriptor of the line. */
export const LINE_VARIABLE = 'SHOAL_GUARD_LINE'

export type GuardWord = 'ready' | 'leaving'

/** Bound of what a child may say, in bytes, before its line is closed. */
export const LINE_BYTES_MAX = 4096

export interface GuardLine {
  /** The descriptor of a listening socket, if the guard has one of that name. */
  socket(name: string): number | undefined
  say(word: GuardWord): void
  /** Calls `ended` once the guard is gone. */
  onGone(ended: () => void): void
  close(): void
}

/** The line to the guard that started this process; undefined without one. */
export function guardLine(env: NodeJS.ProcessEnv): GuardLine | undefined {
  const { [SOCKETS_VARIABLE]: sockets, [LINE_VARIABLE]: line } = env
  if (sockets === undefined || line === undefined) return undefined
  const named = parseSockets(sockets)
  const socket = new Socket({ fd: Number(line) })
  socket.on('error', () => socket.destroy())
  socket.resume().unref()
  return {
    socket: (name) => named.get(name),
    say: (word) => void (socket.writable && socket.write(`${word}\n`)),
    onGone: (ended) => void socket.once('close', ended),
    close: () => socket.destroy(),
  }
}

export function parseSockets(text: string): Map<string, number> {
  const entries = text.split(',').filter((entry) => entry !== '')
  return new Map(entries.map((entry) => [entry.split('=')[0]!, Number(entry.split('=')[1])]))
}

export function socketsText(descriptors: ReadonlyMap<string, number>): string {
  return [...descriptors].map(([name, descriptor]) => `${name}=${descriptor}`).join(',')
}
