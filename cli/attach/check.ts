import { X509Certificate } from 'node:crypto'
import { type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { type RegistryHost, registryAddress } from '../../core/repository.ts'
import { contextTrusting, failureText, trustedAuthorities } from '../../core/trusted-authorities.ts'
import { shoalUserAgent } from '../../core/user-agent.ts'

/** One real request to a registry, the way that the attached runtime will take, with what it trusts and its login. */

export interface Question {
  registry: RegistryHost
  via: 'proxy' | 'mirror'
  proxyUrl: string
  mirrorUrl: string
  mirrorsOf: Readonly<Record<string, string>>
  /** PEM certificates that the runtime has for the registry, besides the system's. */
  trustedPem: string[]
  /** Of the node. */
  authorityPem: string | undefined
  /** As `docker login` keeps it. */
  login: string | undefined
}

export interface CheckAnswer {
  /** Why pulls would fail; undefined: they will not. */
  failure?: string
  /** The node reads this registry's connections. */
  isShared: boolean
  /** The registry wants a login, and this machine has none for it. */
  isWithoutLogin: boolean
}

/** Bound of one request. */
const CHECK_PATIENCE_MS = 10_000
/** Bound of an answer's body, in bytes. */
export const CHECK_BODY_BYTES_MAX = 256 * 1024

/** Never rejects. */
export async function checkRegistry(question: Question): Promise<CheckAnswer> {
  try {
    return await check(question)
  } catch (error) {
    return {
      failure: failureText(error as Error, "the runtime's trust"),
      isShared: false,
      isWithoutLogin: false,
    }
  }
}

async function check(question: Question): Promise<CheckAnswer> {
  const first = await askRegistry(question)
  const isShared = first.isShared
  if (first.status === 200) return { isShared, isWithoutLogin: false }
  const challenge = first.headers['www-authenticate']
  if (first.status !== 401 || challenge === undefined)
    return { failure: `it answered ${first.status}`, isShared, isWithoutLogin: false }
  const authorization = await authorizationFor(question, challenge)
  const second = authorization === undefined ? first : await askRegistry(question, authorization)
  if (second.status === 200) return { isShared, isWithoutLogin: false }
  if (question.login === undefined) return { isShared, isWithoutLogin: true }
  return { failure: `it answered ${second.status} to this machine's login`, isShared, isWithoutLogin: false }
}

/** A registry's token or the login itself, as the challenge wants it (distribution-spec, "token authentication"). */
async function authorizationFor(question: Question, challenge: string): Promise<string | undefined> {
  const basic = question.login === undefined ? undefined : `Basic ${question.login}`
  if (!/^bearer /i.test(challenge)) return basic
  const parameter = (name: string) => new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(challenge)?.[1]
  const realm = parameter('realm')
  if (realm === undefined) throw new Error('its challenge names no token server')
  const url = new URL(realm)
  const service = parameter('service')
  if (service !== undefined) url.searchParams.set('service', service)
  const { status, body } = await askTokenServer(question, url, basic)
  if (status !== 200) {
    if (basic === undefined) return undefined
    throw new Error(`its token server answered ${status} to this machine's login`)
  }
  const { token, access_token } = JSON.parse(body) as { token?: string; access_token?: string }
  return `Bearer ${token ?? access_token}`
}

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: string
  isShared: boolean
}

function askRegistry(question: Question, authorization?: string): Promise<Answer> {
  const { registry, via, mirrorUrl, mirrorsOf } = question
  const headers = authorization === undefined ? {} : { authorization }
  if (via === 'proxy') return askThroughProxy(question, new URL(`https://${registry}/v2/`), headers)
  const own = mirrorsOf[registry]
  const url = new URL('/v2/', own === undefined ? mirrorUrl : `http://${own}`)
  if (own === undefined) url.searchParams.set('ns', registry)
  return ask({ url, headers, isShared: true })
}

/** A mirror's clients ask the token server themselves. */
function askTokenServer(question: Question, url: URL, authorization: string | undefined): Promise<Answer> {
  const headers = authorization === undefined ? {} : { authorization }
  if (question.via === 'proxy' && url.protocol === 'https:') return askThroughProxy(question, url, headers)
  return ask({ url, headers, isShared: false, trustedPem: question.trustedPem })
}

async function askThroughProxy(
  question: Question,
  url: URL,
  headers: Record<string, string>,
): Promise<Answer> {
  const { host, port } = registryAddress(url.host as RegistryHost)
  const tunnel = await openTunnel(question.proxyUrl, url.hostname, port)
  const socket = await secured(tunnel, host, question.trustedPem)
  const { authorityPem } = question
  const leaf = new X509Certificate(socket.getPeerCertificate(true).raw)
  const isShared = authorityPem !== undefined && leaf.checkIssued(new X509Certificate(authorityPem))
  return ask({ url, headers, isShared, socket })
}

function openTunnel(proxyUrl: string, host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const proxy = new URL(proxyUrl)
    const authority = `${host}:${port}`
    const options = { host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: authority }
    const connecting = request({
      ...options,
      headers: { host: authority, 'user-agent': shoalUserAgent() },
      timeout: CHECK_PATIENCE_MS,
    })
    connecting.on('connect', ({ statusCode }, socket) => {
      if (statusCode === 200) return resolve(socket)
      socket.destroy()
      reject(new Error(`the node's proxy answered ${statusCode}`))
    })
    connecting.on('timeout', () => connecting.destroy(new Error("the node's proxy does not answer")))
    connecting.on('error', (cause) => reject(new Error(`the node's proxy: ${cause.message}`, { cause })))
    connecting.end()
  })
}

function secured(
  socket: Socket | undefined,
  host: string,
  trustedPem: string[],
  port = 443,
): Promise<TLSSocket> {
  const secureContext = contextTrusting([...trustedAuthorities(), ...trustedPem])
  const name = /^[\d.]+$|:/.test(host) ? {} : { servername: host }
  return new Promise((resolve, reject) => {
    const where = socket === undefined ? { host, port } : { socket, host }
    const tls = connect({ ...where, ...name, secureContext, rejectUnauthorized: true }, () => resolve(tls))
    tls.setTimeout(CHECK_PATIENCE_MS, () => tls.destroy(new Error('no answer in time')))
    tls.on('error', reject)
  })
}

interface Asked {
  url: URL
  headers: Record<string, string>
  isShared: boolean
  socket?: TLSSocket
  trustedPem?: string[]
}

async function ask({ url, headers, isShared, socket, trustedPem = [] }: Asked): Promise<Answer> {
  const { host, port } = registryAddress(url.host as RegistryHost)
  const own =
    socket ?? (url.protocol === 'https:' ? await secured(undefined, host, trustedPem, port) : undefined)
  return new Promise((resolve, reject) => {
    const asking = request({
      ...(own === undefined ? { host: url.hostname, port: url.port || 80 } : { createConnection: () => own }),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, 'user-agent': shoalUserAgent(), ...headers },
      timeout: CHECK_PATIENCE_MS,
    })
    asking.on('timeout', () => asking.destroy(new Error('no answer in time')))
    asking.on('error', reject)
    asking.on('response', (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text
        if (body.length > CHECK_BODY_BYTES_MAX) asking.destroy(new Error('its answer is too large'))
      })
      response.on('end', () => {
        own?.destroy()
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body, isShared })
      })
    })
    asking.end()
  })
}
