import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect as connectPlain, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { type RegistryHost, registryAddress } from '../../core/repository.ts'
import { contextTrusting, failureText, trustedAuthorities } from '../../core/trusted-authorities.ts'
import { unprivilegedPortsFrom } from '../../core/unprivileged-ports.ts'
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
/** How long a running node may take to see what was attached (CONSENT_READ_EVERY_MS), and to do it. */
const NODE_FOLLOWS_WITHIN_MS = 8_000
/** Time between two questions to the node, whether it has done what was attached. */
const NODE_ASKED_EVERY_MS = 500
/** Bound of an answer's body, in bytes. */
export const CHECK_BODY_BYTES_MAX = 256 * 1024

/**
 * Resolves when the node serves this registry as attached, or when it had enough time for that. Asks without a login, so that
 * no registry counts failed logins. Never rejects.
 */
export async function untilNodeFollows(question: () => Question): Promise<void> {
  const end = performance.now() + NODE_FOLLOWS_WITHIN_MS
  while (!(await followsNode({ ...question(), login: undefined })) && performance.now() < end)
    await setTimeout(NODE_ASKED_EVERY_MS)
}

async function followsNode(question: Question): Promise<boolean> {
  try {
    const { status, isShared } = await askRegistry(question)
    // The mirror's own answer for a registry that it does not know yet.
    return isShared && status !== 404
  } catch {
    return !(await isListening(question.proxyUrl))
  }
}

/** Whether something listens there, so that waiting makes sense. */
async function isListening(proxyUrl: string): Promise<boolean> {
  const { hostname, port } = new URL(proxyUrl)
  const probe = connectPlain({ host: hostname, port: Number(port || 80) })
  return once(probe, 'connect')
    .then(
      () => true,
      () => false,
    )
    .finally(() => probe.destroy())
}

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

async function check(asked: Question): Promise<CheckAnswer> {
  const question = isTakeable(asked) ? { ...asked, login: undefined } : asked
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

/** Any local user may listen at the mirror's port while the node does not, and ask for the login as a registry does. */
function isTakeable({ via, registry, mirrorUrl, mirrorsOf }: Question): boolean {
  const own = mirrorsOf[registry]
  const { port } = new URL(own === undefined ? mirrorUrl : `http://${own}`)
  return via === 'mirror' && Number(port || 80) >= unprivilegedPortsFrom()
}

/** A registry's token or the login itself, as the challenge wants it (distribution-spec, "token authentication"). */
async function authorizationFor(question: Question, challenge: string): Promise<string | undefined> {
  const basic = question.login === undefined ? undefined : `Basic ${question.login}`
  if (!/^bearer /i.test(challenge)) return basic
  const parameter = (name: string) => new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(challenge)?.[1]
  const realm = parameter('realm')
  if (realm === undefined) throw new Error('its challenge names no token server')
  const url = new URL(realm)
  if (basic !== undefined && url.protocol !== 'https:') throw new Error('its token server has no TLS')
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
  const isShared = certificatesIn(authorityPem ?? '').some((one) => leaf.checkIssued(one))
  return ask({ url, headers, isShared, socket })
}

/** A node has one authority for each registry. */
function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (one) => new X509Certificate(one),
  )
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
