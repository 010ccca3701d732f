import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { BenchPeerError } from '../../measure/errors.ts'

const RETRY_MS = 20
/** aria2 opens its port within a few hundred milliseconds of its start. */
const RETRIES_MAX = 500

interface Message {
  id?: number
  method?: string
  result?: unknown
  error?: { message: string }
  params?: { gid: string }[]
}

/** aria2's JSON-RPC over a WebSocket, which reports the end of a download without polling. */
export class Aria2Rpc {
  readonly #socket: WebSocket
  readonly #secret: string
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>()
  /** Ends of downloads by gid; aria2 may report one before it answers the call that began it. */
  readonly #ends = new Map<string, PromiseWithResolvers<void>>()
  #callCount = 0

  private constructor(socket: WebSocket, secret: string) {
    this.#socket = socket
    this.#secret = secret
    socket.addEventListener('message', ({ data }) => this.#receive(JSON.parse(data as string) as Message))
    socket.addEventListener('close', () => this.#fail(new BenchPeerError('aria2 ended')))
  }

  /** @throws BenchPeerError when nothing answers */
  static async connect(port: number, secret: string): Promise<Aria2Rpc> {
    for (let retry = 0; retry < RETRIES_MAX; retry++) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/jsonrpc`)
      if (await isOpened(socket)) return new Aria2Rpc(socket, secret)
      await delay(RETRY_MS)
    }
    throw new BenchPeerError('aria2 does not answer')
  }

  /** @throws BenchPeerError with aria2's own message */
  async call<Result>(method: string, ...parameters: unknown[]): Promise<Result> {
    const id = ++this.#callCount
    const answer = Promise.withResolvers<unknown>()
    this.#calls.set(id, answer)
    const params = [`token:${this.#secret}`, ...parameters]
    this.#socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
    return (await answer.promise) as Result
  }

  /**
   * Resolves when the download has every byte, verified.
   * @throws BenchPeerError when it cannot be downloaded
   */
  downloaded(gid: string): Promise<void> {
    return this.#endOf(gid).promise
  }

  close(): void {
    this.#socket.close()
  }

  #endOf(gid: string): PromiseWithResolvers<void> {
    const end = this.#ends.get(gid) ?? Promise.withResolvers<void>()
    end.promise.catch(() => undefined) // It may fail before anyone waits for it.
    this.#ends.set(gid, end)
    return end
  }

  #receive({ id, method, result, error, params }: Message): void {
    const gid = params?.[0]?.gid ?? ''
    if (method === 'aria2.onBtDownloadComplete') this.#endOf(gid).resolve()
    if (method === 'aria2.onDownloadError') this.#endOf(gid).reject(new BenchPeerError('aria2 gave up'))
    const answer = id === undefined ? undefined : this.#calls.get(id)
    if (error) answer?.reject(new BenchPeerError(`aria2: ${error.message}`))
    else answer?.resolve(result)
  }

  #fail(error: BenchPeerError): void {
    for (const { reject } of [...this.#calls.values(), ...this.#ends.values()]) reject(error)
  }
}

/** Node's WebSocket reports a refused connection as an `error` event, which is no `Error` that `once` could throw. */
async function isOpened(socket: WebSocket): Promise<boolean> {
  const patience = new AbortController()
  const { signal } = patience
  const isFirst = (event: string, answer: boolean) =>
    once(socket, event, { signal }).then(
      () => answer,
      () => false,
    )
  const opened = await Promise.race([isFirst('open', true), isFirst('error', false)])
  patience.abort()
  return opened
}
