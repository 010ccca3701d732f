import { once } from 'node:events'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { BenchPeerError } from '../measure/errors.ts'

/**
 * A kept-alive HTTP/1.1 connection that costs almost nothing, so that the load generator leaves the machine to the
 * tracker. It sends one prepared request at a time; answers must have a Content-Length.
 */

/** For a connection or an answer. A node waits 10 s, so that a longer wait is a failure of the run. */
const PATIENCE_MS = 30_000
const HEAD_END = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i

export class HttpConnection {
  readonly #socket: TLSSocket
  #received: Buffer = Buffer.alloc(0)
  #waiting: PromiseWithResolvers<Buffer> | undefined
  /** Why there will be no more answers. */
  #ended: Error | undefined

  private constructor(socket: TLSSocket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', (error) => this.#end(error))
    socket.on('close', () => this.#end(new BenchPeerError('the tracker closed the connection')))
    socket.on('timeout', () => {
      if (this.#waiting !== undefined) socket.destroy(noAnswer())
    })
  }

  /** @throws BenchPeerError when the tracker does not take the connection in time */
  static async open(options: ConnectionOptions, patienceMs = PATIENCE_MS): Promise<HttpConnection> {
    const socket = connect(options)
    const giveUp = () => void socket.destroy(noAnswer())
    // A socket that has been silent for so long tells it, and again after its next bytes.
    socket.setTimeout(patienceMs, giveUp)
    await once(socket, 'secureConnect')
    socket.off('timeout', giveUp)
    socket.setNoDelay(true)
    return new HttpConnection(socket)
  }

  /**
   * @param request the whole request, head and body
   * @returns the body of the answer
   * @throws BenchPeerError when the answer is not 200, or there is none
   */
  exchange(request: Buffer): Promise<Buffer> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    this.#waiting = Promise.withResolvers()
    this.#socket.write(request)
    return this.#waiting.promise
  }

  close(): void {
    this.#socket.destroy()
  }

  #end(error: Error): void {
    this.#ended ??= error
    this.#waiting?.reject(this.#ended)
    this.#waiting = undefined
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    const answer = splitAnswer(this.#received)
    if (answer === undefined) return
    this.#received = Buffer.alloc(0)
    const { status, body } = answer
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting === undefined)
      this.#end(new BenchPeerError(`the tracker answered ${status} unasked: ${body}`))
    else if (status === 200) waiting.resolve(body)
    else waiting.reject(new BenchPeerError(`the tracker answered ${status}: ${body}`))
  }
}

function noAnswer(): BenchPeerError {
  return new BenchPeerError('the tracker does not answer')
}

/** @returns undefined while the answer is incomplete */
export function splitAnswer(received: Buffer): { status: number; body: Buffer } | undefined {
  const headBytes = received.indexOf(HEAD_END)
  if (headBytes < 0) return undefined
  const head = received.toString('latin1', 0, headBytes)
  const bodyBytes = Number(CONTENT_LENGTH.exec(head)?.[1])
  if (Number.isNaN(bodyBytes)) throw new BenchPeerError('the answer has no Content-Length')
  const bodyStart = headBytes + HEAD_END.length
  if (received.length < bodyStart + bodyBytes) return undefined
  return {
    status: Number(head.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length)),
    body: received.subarray(bodyStart, bodyStart + bodyBytes),
  }
}

export function postRequest(path: string, body: object): Buffer {
  const text = JSON.stringify(body)
  const head = [
    `POST ${path} HTTP/1.1`,
    'host: localhost',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(text)}`,
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${text}`)
}
