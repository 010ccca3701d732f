import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isSettledWithin } from './patience.ts'

/**
 * What a guard and its child tell each other. The child finds in its environment which descriptors are the guard's
 * sockets, by name, and which one is the line to the guard. Words on the line: `ready` (it accepts), `leaving` (it will
 * accept no more), `keep <text>`. The line ends with the guard.
 *
 * The guard keeps one text for the node, in memory only, and gives it to the next node as the first line: the authority that
 * runtimes trust outlives a node that is killed or exchanged, and never touches a disk.
 */

/** `proxy=3,mirror=4`. */
export const SOCKETS_VARIABLE = 'SHOAL_GUARD_SOCKETS'
/** The descriptor of the line. */
export const LINE_VARIABLE = 'SHOAL_GUARD_LINE'

/** Set if the guard keeps a text: one of an earlier release would end a child that says so much. */
export const KEEPS_VARIABLE = 'SHOAL_GUARD_KEEPS'

export type GuardWord = 'ready' | 'leaving'

/** Bound of a line, in bytes, before it is closed. An authority takes 1,200 for each registry. */
export const LINE_BYTES_MAX = 256 * 1024
/** How long a node waits for the kept text, which is there before the node is. */
const KEPT_PATIENCE_MS = 2_000

export interface GuardLine {
  /** The descriptor of a listening socket, if the guard has one of that name. */
  socket(name: string): number | undefined
  say(word: GuardWord): void
  /** What the node before gave to `keep`; '' if there is nothing. */
  kept(): Promise<string>
  /** Replaces the kept text, of one line. What is longer than a line may be is not kept. */
  keep(text: string): void
  /** Calls `ended` once the guard is gone. */
  onGone(ended: () => void): void
  close(): void
}

/** The line to the guard that started this process; undefined without one. */
export function guardLine(env: NodeJS.ProcessEnv): GuardLine | undefined {
  const { [SOCKETS_VARIABLE]: sockets, [LINE_VARIABLE]: line, [KEEPS_VARIABLE]: keeps } = env
  if (sockets === undefined || line === undefined) return undefined
  const named = parseSockets(sockets)
  const socket = new Socket({ fd: Number(line) })
  socket.on('error', () => socket.destroy())
  const kept = Promise.withResolvers<string>()
  if (keeps === undefined) kept.resolve('')
  socket.once('close', () => kept.resolve(''))
  readLines(socket, kept.resolve)
  socket.unref()
  const write = (text: string) => void (socket.writable && socket.write(`${text}\n`))
  return {
    socket: (name) => named.get(name),
    say: write,
    kept: async () => ((await isSettledWithin(kept.promise, KEPT_PATIENCE_MS)) ? kept.promise : ''),
    keep: (text) => {
      if (keeps !== undefined && text.length < LINE_BYTES_MAX - KEEP.length) write(KEEP + text)
    },
    onGone: (ended) => void socket.once('close', ended),
    close: () => socket.destroy(),
  }
}

/** Before the text in a child's line. */
export const KEEP = 'keep '

/** Calls `said` with each line. A longer one than LINE_BYTES_MAX closes the connection. */
export function readLines(line: Duplex, said: (text: string) => void): void {
  let text = ''
  line.on('error', () => line.destroy()).setEncoding('latin1')
  line.on('data', (part: string) => {
    const lines = (text + part).split('\n')
    text = lines.pop() ?? ''
    if (text.length > LINE_BYTES_MAX) return void line.destroy()
    lines.forEach(said)
  })
}

export function parseSockets(text: string): Map<string, number> {
  const entries = text.split(',').filter((entry) => entry !== '')
  return new Map(entries.map((entry) => [entry.split('=')[0]!, Number(entry.split('=')[1])]))
}

export function socketsText(descriptors: ReadonlyMap<string, number>): string {
  return [...descriptors].map(([name, descriptor]) => `${name}=${descriptor}`).join(',')
}
