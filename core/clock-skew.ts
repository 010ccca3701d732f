import { once } from 'node:events'
import { isIP, connect as tcp } from 'node:net'
import { connect, type SecureContext, type TLSSocket } from 'node:tls'
import type { Conditions } from './conditions.ts'
import { addressText } from './network.ts'
import { isTimeCode } from './registry-failure.ts'
import type { UpstreamProxy } from './upstream-proxy.ts'
import { shoalUserAgent } from './user-agent.ts'

/** Certificates differ by minutes; a smaller difference does not explain that one is not valid. */
export const SKEW_SECONDS_MIN = 60
/** For the connection and the answer together. */
const ANSWER_PATIENCE_MS = 5000
/** Bound of what is read to find the answer's Date. */
const HEAD_BYTES_MAX = 64 * 1024

/** How to reach the server, and what its certificate must verify with but for its times. */
export interface ServerRoute {
  context: SecureContext
  proxy: UpstreamProxy | undefined
}

/**
 * By how much this machine's clock is ahead of an HTTPS server's, in seconds, as its answer's Date tells (RFC 9110 §6.6.1).
 * For a server whose certificate is from a trusted authority and not valid at this machine's time: whatever else is wrong
 * with the certificate, nothing is sent. The result is for words and must decide nothing; no credential is sent.
 * @returns undefined if there is no answer with a date
 */
export async function clockAheadSeconds(
  target: { host: string; port: number },
  { context, proxy }: ServerRoute,
): Promise<number | undefined> {
  const { host, port } = target
  let secure: TLSSocket | undefined
  const timer = setTimeout(() => secure?.destroy(), ANSWER_PATIENCE_MS)
  try {
    const socket = proxy?.isUsedFor(host, port) ? await proxy.connect(target) : tcp(target)
    // An error of the connection below ends the one above, too.
    socket.on('error', () => undefined)
    const name = isIP(host) === 0 ? { servername: host } : {}
    secure = connect({ socket, secureContext: context, rejectUnauthorized: false, ...name })
    await once(secure, 'secureConnect')
    if (!isTimeCode(String(secure.authorizationError))) return undefined
    const agent = `User-Agent: ${shoalUserAgent()}\r\n`
    secure.write(`HEAD /v2/ HTTP/1.1\r\nHost: ${addressText(target)}\r\n${agent}Connection: close\r\n\r\n`)
    const date = /^date: *(.+?)\r?$/im.exec(await readHead(secure))?.[1]
    const theirMs = Date.parse(date ?? '')
    return Number.isNaN(theirMs) ? undefined : Math.round((Date.now() - theirMs) / 1000)
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
    secure?.destroy()
  }
}

/** Shows the operator a difference of the clocks that explains a certificate which is not valid. */
export function noteSkew(conditions: Conditions, server: string, aheadSeconds: number | undefined): void {
  if (aheadSeconds === undefined) return
  if (Math.abs(aheadSeconds) < SKEW_SECONDS_MIN) conditions.clear('CLOCK_SKEWED', server)
  else conditions.raise('CLOCK_SKEWED', server, { aheadSeconds })
}

async function readHead(secure: TLSSocket): Promise<string> {
  let head = ''
  for await (const chunk of secure) {
    head += chunk.toString('latin1')
    if (head.includes('\r\n\r\n') || head.length > HEAD_BYTES_MAX) break
  }
  return head
}
