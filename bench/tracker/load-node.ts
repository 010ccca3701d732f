import { generateKeyPairSync } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import { joinResponse } from '../../core/join-api.ts'
import { HttpConnection, postRequest } from './http-connection.ts'
import type { LoadSettings } from './questions.ts'

/** A node of the load generator: its certificate, and its one connection to a tracker. */
export class LoadNode {
  readonly #options: ConnectionOptions
  #connection: HttpConnection
  #last: Promise<unknown> = Promise.resolve()
  /** Requests that are not answered yet. */
  waiting = 0
  #askedMs = performance.now()

  private constructor(options: ConnectionOptions, connection: HttpConnection) {
    this.#options = options
    this.#connection = connection
  }

  static async join(settings: LoadSettings, index: number): Promise<LoadNode> {
    const { publicKey, privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'der' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    })
    const port = settings.ports[index % settings.ports.length]!
    const tracker = {
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      ca: settings.trackerCaPem,
      localAddress: addressOf(index),
    }
    const joining = await HttpConnection.open(tracker)
    const { joinToken } = settings
    const request = postRequest('/v1/nodes', { joinToken, publicKey: publicKey.toString('base64url') })
    const joined = joinResponse.parse(JSON.parse((await joining.exchange(request)).toString()))
    joining.close()
    const options = { ...tracker, cert: joined.certificate, key: privateKey }
    return new LoadNode(options, await HttpConnection.open(options))
  }

  /** Since its last request. */
  get idleMs(): number {
    return performance.now() - this.#askedMs
  }

  /** One request after the other. @returns the body of the answer */
  async exchange(request: Buffer): Promise<Buffer> {
    this.waiting += 1
    this.#askedMs = performance.now()
    const answered = this.#last.then(() => this.#connection.exchange(request))
    this.#last = answered.catch(() => undefined)
    try {
      return await answered
    } finally {
      this.waiting -= 1
    }
  }

  async reconnect(): Promise<void> {
    this.#connection.close()
    this.#connection = await HttpConnection.open(this.#options)
  }

  close(): void {
    this.#connection.close()
  }
}

/** Each node has an address of loopback of its own, as machines have: the tracker bounds what one address may do. */
function addressOf(index: number): string {
  return `127.1.${index >> 8}.${index & 255}`
}
