import type { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { isIP, connect as tcp } from 'node:net'
import { connect, type SecureContext, type TLSSocket } from 'node:tls'
import { clockAheadSeconds } from '../../../core/clock-skew.ts'
import { isAboutTime, registryFailure } from '../../../core/registry-failure.ts'
import {
  certificatesOf,
  contextTrusting,
  failureText,
  trustedAuthorities,
} from '../../../core/trusted-authorities.ts'
import type { UpstreamProxy } from '../../../core/upstream-proxy.ts'
import { shoalUserAgent } from '../../../core/user-agent.ts'
import { knownTracker } from '../../../node/known.ts'
import { type About, isDenied } from '../about.ts'
import type { ClockFacts } from '../judge/clock.ts'
import type { Ending } from '../judge/endings.ts'
import type { TrackerFacts } from '../judge/tracker.ts'
import { aheadOf } from './registries.ts'

export interface TrackerLook extends TrackerFacts {
  clock?: ClockFacts
  certificates: Ending[]
}

/** Bound of the answer that is read, in characters: a code with its message. */
const ANSWER_CHARS_MAX = 16 * 1024
const RENEW_TLS =
  'Renew the TLS certificate of the tracker: `shoal certs tracker-tls` for one of `shoal certs authority`.'
const RENEW_AUTHORITY =
  'Make a new authority (`shoal certs authority`) and certificate for the tracker before, and let the nodes trust it.'

interface Route {
  /** As findings call it. */
  name: string
  host: string
  port: number
  context: SecureContext
  isVerified: boolean
  patienceMs: number
  proxy: UpstreamProxy | undefined
}

/** Asks every tracker of the cluster without a certificate, with what the node trusts for them. */
export async function lookAtTrackers(
  about: About,
  proxy: UpstreamProxy | undefined,
): Promise<[TrackerLook, ...TrackerLook[]]> {
  const { config, facts, patienceMs } = about
  const known = whichTrackers(about)
  const told = facts.status?.tracker
  const [first = told?.url ?? undefined, ...others] = known.urls
  if (first === undefined) return [{ url: first, isDenied: known.isDenied, certificates: [] }]
  const authorities = endingsOf(known.trackerCaPem)
  const trusted = known.isPinned
    ? [known.trackerCaPem ?? '']
    : trustedAuthorities(known.trackerCaPem, config.trackerCaFile)
  const trust = { context: contextTrusting(trusted), isVerified: !known.isDenied, patienceMs, proxy }
  const look = async (url: string) => {
    const isOfNode = others.length === 0 || (told?.url ?? '') === new URL(url).origin
    const name = others.length === 0 ? 'the tracker' : new URL(url).host
    const base = { url, state: isOfNode ? told?.state : undefined, isUnverified: known.isDenied }
    return { ...base, ...(await lookAt({ name, ...trust, ...placeOf(url) })) }
  }
  const [one, ...more] = await Promise.all([look(first), ...others.map(look)])
  return [{ ...one, certificates: [...one.certificates, ...authorities] }, ...more]
}

function placeOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url)
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || 443) }
}

async function lookAt(
  route: Route,
): Promise<Pick<TrackerLook, 'code' | 'failure' | 'clock' | 'certificates'>> {
  try {
    const { code, date, leaf } = await ask(route)
    const aheadSeconds = aheadOf(date)
    return {
      code,
      certificates: leaf === undefined ? [] : [leaf],
      ...(aheadSeconds === undefined ? {} : { clock: { server: route.name, aheadSeconds } }),
    }
  } catch (cause) {
    return { ...(await failed(route, cause as Error)), certificates: [] }
  }
}

function whichTrackers({ config }: About) {
  try {
    const { trackerUrl, otherTrackerUrls, ...trust } = knownTracker(config)
    return {
      urls: trackerUrl === undefined ? [] : [trackerUrl, ...otherTrackerUrls],
      ...trust,
      isDenied: false,
    }
  } catch (error) {
    if (!isDenied(error)) throw error
    const urls = config.trackerUrl?.split(',') ?? []
    return { urls, trackerCaPem: undefined, isPinned: false, isDenied: true }
  }
}

async function failed(route: Route, cause: Error): Promise<Pick<TrackerLook, 'failure' | 'clock'>> {
  const reason = failureText(cause, 'trackerCaFile')
  if (isAboutTime(cause)) {
    const aheadSeconds = await clockAheadSeconds(route, route)
    const clock =
      aheadSeconds === undefined ? {} : { clock: { server: route.name, aheadSeconds, isRefused: true } }
    return { failure: { kind: 'time', reason }, ...clock }
  }
  return { failure: { kind: registryFailure(cause) === 'certificate' ? 'certificate' : 'silent', reason } }
}

async function ask(
  route: Route,
): Promise<{ code: string | undefined; date: string | undefined; leaf: Ending | undefined }> {
  const { name: called, host, port, context, isVerified, patienceMs, proxy } = route
  const ended = AbortSignal.timeout(patienceMs)
  const socket = proxy?.isUsedFor(host, port) ? await proxy.connect(route) : tcp({ host, port })
  socket.on('error', () => undefined)
  const name = isIP(host) === 0 ? { servername: host } : {}
  const secure = connect({ socket, host, ...name, secureContext: context, rejectUnauthorized: isVerified })
  const late = () => secure.destroy(new Error('no answer in time'))
  ended.addEventListener('abort', late)
  try {
    await once(secure, 'secureConnect')
    const leaf = secure.getPeerX509Certificate()
    const { code, date } = await question(secure, host)
    return { code, date, leaf: leaf && endingOf(leaf, `the certificate of ${called}`, RENEW_TLS) }
  } finally {
    ended.removeEventListener('abort', late)
    secure.on('error', () => undefined).destroy()
  }
}

async function question(secure: TLSSocket, host: string) {
  const headers = { host, 'user-agent': shoalUserAgent() }
  const asked = request({ createConnection: () => secure, method: 'GET', path: '/v1/nodes', headers }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  let text = ''
  for await (const part of answer.setEncoding('utf8')) {
    text += part
    if (text.length > ANSWER_CHARS_MAX) break
  }
  return { code: codeIn(text), date: answer.headers.date }
}

function codeIn(text: string): string | undefined {
  try {
    const code: unknown = JSON.parse(text).error.code
    return typeof code === 'string' ? code : undefined
  } catch {
    return undefined
  }
}

function endingsOf(pem: string | undefined): Ending[] {
  if (pem === undefined) return []
  return certificatesOf(pem, 'trackerCaFile').map((one) =>
    endingOf(one, "the tracker's authority", RENEW_AUTHORITY),
  )
}

export function endingOf(certificate: X509Certificate, what: string, remedy: string): Ending {
  const { validFromDate, validToDate } = certificate
  return { what, beginsMs: validFromDate.getTime(), endsMs: validToDate.getTime(), remedy }
}
