import { rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { listenOwnerOnly } from '../core/socket-file.ts'
import { GuardDownError, GuardError } from './sockets.ts'

/** How an operator's command reaches the guard: one word, and one line of JSON back, over a socket that only its user can open. */

export const CONTROL_WORDS = ['start', 'stop', 'status'] as const
export type ControlWord = (typeof CONTROL_WORDS)[number]

/** For every command that asks the guard. */
export const CONTROL_FLAG = {
  type: 'string',
  value: 'path',
  description: "The guard's own socket.",
  default: '/run/shoal/guard.sock',
} as const

/** Bound of a request to the control socket, in bytes. */
const REQUEST_BYTES_MAX = 64
/** Bound of the guard's answer, in bytes. */
export const ANSWER_BYTES_MAX = 64 * 1024
/** Bound of the control socket's callers at one time. */
const CALLERS_MAX = 16
/** How long a caller may take to write its word, and the guard to answer. */
const CALL_PATIENCE_MS = 5_000

export interface Controlled {
  start(): void
  stop(): void
  status(): object
}

export class Control {
  readonly #path: string
  readonly #server: Server

  constructor(path: string, controlled: Controlled) {
    this.#path = path
    this.#server = createServer((socket) => answer(socket, controlled))
    this.#server.maxConnections = CALLERS_MAX
  }

  async listen(): Promise<void> {
    rmSync(this.#path, { force: true })
    await listenOwnerOnly(this.#server, this.#path).catch((cause: Error) => {
      throw new GuardError(`--control cannot be used: ${cause.message}`, { cause })
    })
  }

  close(): void {
    this.#server.close()
    rmSync(this.#path, { force: true })
  }
}

function answer(socket: Socket, controlled: Controlled): void {
  let text = ''
  socket.setTimeout(CALL_PATIENCE_MS, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.setEncoding('latin1').on('data', (part: string) => {
    text += part
    if (text.length > REQUEST_BYTES_MAX) socket.destroy()
    if (!text.endsWith('\n')) return
    const word = CONTROL_WORDS.find((known) => `${known}\n` === text)
    if (word === 'start' || word === 'stop') controlled[word]()
    socket.end(word === undefined ? '' : `${JSON.stringify(controlled.status())}\n`)
  })
}

/**
 * Sends a word to the guard that listens there.
 * @throws GuardDownError if none does
 */
export function callGuard(path: string, word: ControlWord): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => {
      const hint = 'Is the guard running, and may this user open its socket? Name it with --control.'
      reject(new GuardDownError(`no guard answers at ${path}: ${cause.message}`, { cause, hint }))
    }
    let text = ''
    const socket = connect(path, () => socket.end(`${word}\n`))
    socket.setTimeout(CALL_PATIENCE_MS, () => socket.destroy(new Error('no answer in time')))
    socket.once('error', fail)
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part
      if (text.length > ANSWER_BYTES_MAX) socket.destroy(new Error('its answer is too long'))
    })
    socket.once('end', () => {
      try {
        resolve(JSON.parse(text))
      } catch {
        fail(new Error(text === '' ? 'no answer' : 'its answer is no JSON'))
      }
    })
  })
}
