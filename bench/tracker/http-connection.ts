import { once } from 'node:events'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { BenchPeerError } from '../measure/errors.ts'

/**
 * A kept-alive HTTP/1.1 connection that costs almost nothing, so that the load generator leaves the machine to the
 * tracker. It sends one prepared request at a time; answers must have a Content-Length.
 */

const HEAD_END = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i

export class HttpConnection {
  readonly #socket: TLSSocket
  #received: Buffer = Buffer.alloc(0)
  #waiting: PromiseWithResolvers<Buffer> | undefined

  private constructor(socket: TLSSocket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', (error) => this.#waiting?.reject(error))
    socket.on('close', () => this.#waiting?.reject(new BenchPeerError('the tracker closed the connection')))
  }

  static async open(options: ConnectionOptions): Promise<HttpConnection> {
    const socket = connect(options)
    await once(socket, 'secureConnect')
    socket.setNoDelay(true)
    return new HttpConnection(socket)
  }

  /**
   * @param request the whole request, head and body
   * @returns the body of the answer
   * @throws BenchPeerError when the answer is not 200
   */
  exchange(request: Buffer): Promise<Buffer> {
    this.#waiting = Promise.withResolvers()
    this.#socket.write(request)
    return this.#waiting.promise
  }

  close(): void {
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    const answer = splitAnswer(this.#received)
    if (answer === undefined) return
    this.#received = Buffer.alloc(0)
    const { status, body } = answer
    if (status === 200) this.#waiting?.resolve(body)
    else this.#waiting?.reject(new BenchPeerError(`the tracker answered ${status}: ${body}`))
  }
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
