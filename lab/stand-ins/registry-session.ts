import { readFileSync } from 'node:fs'
import { Agent, type Dispatcher, ProxyAgent } from 'undici'
import { LabPartError } from '../errors.ts'
import type { ClientJob } from './client.ts'

/**
 * Requests to one registry as Docker makes them: through a proxy by CONNECT, over TLS that trusts given authorities only,
 * with a token that is asked for when the registry demands one (Distribution's "Token Authentication Specification").
 */

export interface SessionRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT'
  /** Of the registry, or a whole URL. */
  path: string
  headers?: Record<string, string>
  /** Called for every try. */
  body?: () => Dispatcher.DispatchOptions['body']
}

type SessionOptions = Pick<ClientJob, 'registry' | 'account' | 'caFiles' | 'proxyUrl'>

export class RegistrySession {
  readonly #options: SessionOptions
  readonly #dispatcher: Dispatcher
  #token: string | undefined
  #asking: Promise<string> | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    const ca = options.caFiles.map((path) => readFileSync(path, 'utf8'))
    this.#dispatcher =
      options.proxyUrl === undefined
        ? new Agent({ connect: { ca } })
        : new ProxyAgent({ uri: options.proxyUrl, requestTls: { ca } })
  }

  /** The answer, whatever its status is. A demand for a token is met once. */
  async request(request: SessionRequest): Promise<Dispatcher.ResponseData> {
    const first = await this.#send(request)
    if (first.statusCode !== 401) return first
    await first.body.dump()
    const challenge = String(first.headers['www-authenticate'] ?? '')
    this.#asking ??= this.#askForToken(challenge)
    this.#token = await this.#asking
    return this.#send(request)
  }

  /** @throws LabPartError for another status than the expected one */
  async expect(request: SessionRequest, status: number): Promise<Dispatcher.ResponseData> {
    const answer = await this.request(request)
    if (answer.statusCode === status) return answer
    const words = (await answer.body.text()).slice(0, 300)
    throw new LabPartError(
      `${request.method} ${request.path} was answered with ${answer.statusCode}: ${words}`,
    )
  }

  close(): Promise<void> {
    return this.#dispatcher.close()
  }

  #send({ method, path, headers = {}, body }: SessionRequest): Promise<Dispatcher.ResponseData> {
    const { origin, pathname, search } = new URL(path, `https://${this.#options.registry}`)
    const authorization = this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }
    return this.#dispatcher.request({
      ...{ origin, method, path: pathname + search },
      headers: { 'user-agent': 'shoal-stand-in-client', ...authorization, ...headers },
      ...(body && { body: body() ?? null }),
    })
  }

  async #askForToken(challenge: string): Promise<string> {
    const { realm, ...parameters } = challengeOf(challenge)
    if (realm === undefined) throw new LabPartError(`the registry wants no token: ${challenge.slice(0, 200)}`)
    const url = new URL(realm)
    for (const name of ['service', 'scope']) {
      if (parameters[name] !== undefined) url.searchParams.set(name, parameters[name])
    }
    const { user, password } = this.#options.account
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    const { origin, pathname, search } = url
    const { statusCode, body } = await this.#dispatcher.request({
      ...{ origin, method: 'GET', path: pathname + search, headers: { authorization } },
    })
    if (statusCode !== 200) throw new LabPartError(`the token server answered with ${statusCode}`)
    const { token } = (await body.json()) as { token: string }
    return token
  }
}

/** The parameters of a Bearer challenge (RFC 9110 §11.6.1), all in quotation marks. */
export function challengeOf(header: string): Record<string, string> {
  const [, parameters] = /^Bearer (.*)$/i.exec(header) ?? []
  return Object.fromEntries(
    [...(parameters ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  )
}
