import { createServer, type Server, type Socket } from 'node:net'
import type { ListenAddress } from '../core/config.ts'
import { plainAddress } from '../core/network.ts'
import { parseQuestion, QUESTION_BYTES_MAX } from '../proxy/owner-question.ts'
import { KernelSocketOwners } from '../proxy/socket-owner.ts'

/**
 * Tells a node without rights which program has the other end of a connection to the proxy: user, executable and systemd
 * service, of connections to the one address that root named, and nothing else. It ends by itself once nobody asks.
 */

/** Time without a question after which `shoal owners` ends: a node that pulls asks again sooner. */
export const OWNERS_IDLE_MS = 30_000
/** Bound of callers at one time; a further one is cut off. */
const OWNERS_CALLERS_MAX = 32
/** How long a caller may take to write its question, and to wait for the answer. */
const OWNERS_PATIENCE_MS = 1_000
/** Bound of questions that are looked into within OWNERS_WINDOW_MS, as each may read all connections of the machine. */
export const OWNERS_QUESTIONS_MAX = 100
/** For how long questions are counted together. */
export const OWNERS_WINDOW_MS = 1_000

export interface OwnersServiceOptions {
  /** Of the Unix socket, which is bound and listens. */
  descriptor: number
  /** Where the proxy listens. */
  proxy: ListenAddress
  idleMs?: number
  windowMs?: number
}

export class OwnersService {
  readonly #proxy: ListenAddress
  readonly #windowMs: number
  readonly #owners = new KernelSocketOwners()
  readonly #server: Server
  readonly #idle: NodeJS.Timeout
  readonly #ended = Promise.withResolvers<void>()
  #windowBeganAtMs = Number.NEGATIVE_INFINITY
  #questions = 0

  constructor(options: OwnersServiceOptions) {
    const { descriptor, proxy, idleMs = OWNERS_IDLE_MS, windowMs = OWNERS_WINDOW_MS } = options
    this.#proxy = proxy
    this.#windowMs = windowMs
    // Whoever comes now waits in the kernel's queue, for which the service manager starts the next one.
    this.#idle = setTimeout(() => this.#server.close(() => this.#ended.resolve()), idleMs)
    this.#server = createServer((socket) => this.#hear(socket))
    this.#server.maxConnections = OWNERS_CALLERS_MAX
    this.#server.listen({ fd: descriptor })
  }

  /** Resolves once it has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  #hear(socket: Socket): void {
    let text = ''
    const timer = setTimeout(() => socket.destroy(), OWNERS_PATIENCE_MS)
    socket.once('close', () => clearTimeout(timer)).on('error', () => socket.destroy())
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part
      if (text.length > QUESTION_BYTES_MAX) socket.destroy()
      else if (text.endsWith('\n')) void this.#answer(socket, text)
    })
  }

  async #answer(socket: Socket, text: string): Promise<void> {
    const question = parseQuestion(text)
    if (question === undefined || !this.#isOfProxy(question) || this.#isTooMany()) {
      socket.destroy()
      return
    }
    this.#idle.refresh()
    // Whoever asked may wait no longer.
    const connection = {
      ...question,
      get readyState() {
        return socket.readyState
      },
    }
    const owner = await this.#owners.ownerOf(connection)
    socket.end(owner === undefined ? '' : `${JSON.stringify(owner)}\n`)
  }

  #isOfProxy({ localAddress, localPort }: { localAddress: string; localPort: number }): boolean {
    return localPort === this.#proxy.port && plainAddress(localAddress) === this.#proxy.host
  }

  #isTooMany(): boolean {
    const nowMs = performance.now()
    if (nowMs - this.#windowBeganAtMs >= this.#windowMs) {
      this.#windowBeganAtMs = nowMs
      this.#questions = 0
    }
    this.#questions += 1
    return this.#questions > OWNERS_QUESTIONS_MAX
  }
}
