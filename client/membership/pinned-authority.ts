import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { isIP, type Socket, connect as tcp } from 'node:net'
import { type ConnectionOptions, connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import { pinOf } from '../../core/authority-pin.ts'
import { clockAheadSeconds, type ServerRoute, SKEW_SECONDS_MIN } from '../../core/clock-skew.ts'
import { reasonOf } from '../../core/errors.ts'
import { isAboutTime, registryFailure } from '../../core/registry-failure.ts'
import { contextTrusting, failureText } from '../../core/trusted-authorities.ts'
import type { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { JoinFailedError } from '../errors.ts'

/** How long a server may take to show its certificates, from the first packet on. */
const LOOK_PATIENCE_MS = 5_000
/** Bound of the certificates that a server shows. */
const CHAIN_MAX = 8

/** `host:port` of a tracker, apart. */
export function hostAndPort(tracker: string): { host: string; port: number } {
  const [, host = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(tracker) ?? []
  return { host, port: Number(port) }
}

/**
 * Finds the authority with this pin among the certificates that a server shows. The handshake is not verified and nothing
 * is sent over it: whoever answers learns only that somebody called. The result says nothing about the server; the caller
 * makes another connection that trusts only this authority.
 * @throws JoinFailedError TRACKER_UNREACHABLE, TRACKER_PIN
 */
export async function pinnedAuthority(
  tracker: string,
  pin: Buffer,
  proxy: UpstreamProxy | undefined,
): Promise<string> {
  const shown = await shownCertificates(tracker, proxy).catch((cause: Error) => {
    throw silent(tracker, cause)
  })
  const found = shown.find((certificate) => pinOf(certificate).equals(pin) && isOwnSignature(certificate))
  if (found !== undefined) return found.toString()
  throw new JoinFailedError('TRACKER_PIN', `${tracker} is not the tracker of this join string`, {
    hint: 'It has another authority, or somebody is in between. Nothing was sent. Make a new join string on the tracker’s machine. If this error comes again, find out who answers there.',
  })
}

/** Made by the holder of the key: others could repeat key and subject with another end. An intermediate has its issuer's. */
function isOwnSignature(certificate: X509Certificate): boolean {
  return !certificate.checkIssued(certificate) || certificate.verify(certificate.publicKey)
}

/**
 * Makes sure that the server at this address has a certificate of the authority, for this address and this time. Sends
 * nothing else.
 * @throws JoinFailedError CLOCK_SKEWED, TRACKER_CERTIFICATE, TRACKER_UNREACHABLE
 */
export async function checkCertificate(
  tracker: string,
  authorityPem: string,
  proxy: UpstreamProxy | undefined,
): Promise<void> {
  const context = contextTrusting([authorityPem])
  try {
    await handshake(tracker, proxy, { secureContext: context, rejectUnauthorized: true }, () => undefined)
  } catch (error) {
    const cause = error as Error
    if (isAboutTime(cause)) throw await aboutTime(tracker, cause, { context, proxy })
    if (registryFailure(cause) !== 'certificate') throw silent(tracker, cause)
    const why = failureText(cause, 'the join string')
    throw new JoinFailedError(
      'TRACKER_CERTIFICATE',
      `the certificate of ${tracker} does not verify: ${why}`,
      {
        cause,
        hint: 'Nothing was sent. The tracker’s certificate must be for this address: see `shoal certs inspect`.',
      },
    )
  }
}

async function aboutTime(tracker: string, cause: Error, route: ServerRoute): Promise<JoinFailedError> {
  const aheadSeconds = await clockAheadSeconds(hostAndPort(tracker), route)
  if (aheadSeconds === undefined || Math.abs(aheadSeconds) < SKEW_SECONDS_MIN) {
    const why = failureText(cause, 'the join string')
    return new JoinFailedError(
      'TRACKER_CERTIFICATE',
      `the certificate of ${tracker} does not verify: ${why}`,
      {
        cause,
        hint: 'Nothing was sent. Renew the tracker’s certificate, or set the clock of this machine.',
      },
    )
  }
  const text = `this machine’s clock is ${durationText(Math.abs(aheadSeconds))} ${aheadSeconds > 0 ? 'ahead of' : 'behind'} that of the tracker ${tracker}`
  return new JoinFailedError('CLOCK_SKEWED', text, {
    cause,
    hint: 'Nothing was sent. Set the clock of this machine and keep it right (chronyd, systemd-timesyncd or ntpd), then join again.',
  })
}

/** `3 minutes`, in the largest unit of which there are two. */
export function durationText(seconds: number): string {
  const units: [string, number][] = [
    ['days', 86_400],
    ['hours', 3600],
    ['minutes', 60],
  ]
  const [name, size] = units.find(([, size]) => seconds >= 2 * size) ?? ['seconds', 1]
  return `${Math.floor(seconds / size)} ${name}`
}

function silent(tracker: string, cause: Error): JoinFailedError {
  return new JoinFailedError(
    'TRACKER_UNREACHABLE',
    `the tracker ${tracker} does not answer: ${reasonOf(cause)}`,
    {
      cause,
      hint: 'Check that it runs, and that a firewall lets this machine reach it. If this machine must go through a proxy, set upstreamProxy.',
    },
  )
}

function shownCertificates(tracker: string, proxy: UpstreamProxy | undefined): Promise<X509Certificate[]> {
  return handshake(tracker, proxy, { rejectUnauthorized: false, minVersion: 'TLSv1.2' }, (secure) =>
    chainOf(secure.getPeerCertificate(true)),
  )
}

async function handshake<T>(
  tracker: string,
  proxy: UpstreamProxy | undefined,
  tls: ConnectionOptions,
  look: (secure: TLSSocket) => T,
): Promise<T> {
  const target = hostAndPort(tracker)
  const { host, port } = target
  const late = AbortSignal.timeout(LOOK_PATIENCE_MS)
  // The outermost one. TLS ends what is below it, which must not end before it.
  let open: Socket | undefined
  try {
    const socket = proxy?.isUsedFor(host, port) ? await proxy.connect(target) : tcp(target)
    open = socket
    if (socket.connecting) await once(socket, 'connect', { signal: late })
    socket.on('error', () => undefined)
    const name = isIP(host) === 0 ? { servername: host } : {}
    const secure = connect({ socket, host, ...tls, ...name })
    open = secure
    await once(secure, 'secureConnect', { signal: late })
    return look(secure)
  } catch (error) {
    throw late.aborted ? new Error('no answer in time') : error
  } finally {
    open?.on('error', () => undefined).destroy()
  }
}

function chainOf(leaf: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  let at: DetailedPeerCertificate | undefined = leaf
  while (at?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(new X509Certificate(at.raw))
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate
  }
  return chain
}
