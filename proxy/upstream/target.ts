import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { ConnectDeniedError, ProxyRequestError, TargetUnreachableError } from '../errors.ts'

/** Host and port that a client wants to reach, as it wrote them; IPv6 addresses without their brackets. */
export interface Target {
  host: string
  port: number
}

/** A target with the addresses that were resolved and checked: connect to these, never to the name again. */
export interface CheckedTarget extends Target {
  addresses: { address: string; family: number }[]
}

/** The longest name that DNS can carry (RFC 1035 §2.3.4). */
const HOST_CHARS_MAX = 253
/** How long a name may take to resolve. */
const RESOLVE_PATIENCE_MS = 10_000
const AUTHORITY = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/?#@[\]\\%]+)):(\d{1,5})$/

/**
 * Parses the authority-form of CONNECT (RFC 9112 §3.2.3): host and port, nothing else.
 * @throws ProxyRequestError
 */
export function parseAuthority(text: string): Target {
  const parts = AUTHORITY.exec(text)
  const host = (parts?.[1] ?? parts?.[2] ?? '').toLowerCase()
  const port = Number(parts?.[3])
  const isAddress = parts?.[1] === undefined || isIP(host) === 6
  if (parts === null || host.length > HOST_CHARS_MAX || !isAddress || port < 1 || port > 65_535) {
    throw new ProxyRequestError('the request target is not host:port')
  }
  return { host, port }
}

function blockList(ranges: [string, number, 'ipv4' | 'ipv6'][]): BlockList {
  const list = new BlockList()
  for (const [net, bits, family] of ranges) list.addSubnet(net, bits, family)
  return list
}

/** Where clouds put their metadata services: credentials for whoever can ask from this machine. */
const LINK_LOCAL = blockList([
  ['169.254.0.0', 16, 'ipv4'], // RFC 3927
  ['fe80::', 10, 'ipv6'], // RFC 4291 §2.5.6
  ['100.100.100.200', 32, 'ipv4'], // Alibaba Cloud
  ['fd00:ec2::', 32, 'ipv6'], // AWS over IPv6
  ['64:ff9b::a9fe:0', 112, 'ipv6'], // NAT64 (RFC 6052) of 169.254.0.0/16
])

/** Addresses that lead to a listener on loopback. The unspecified ones do: Linux connects to itself. */
const THIS_MACHINE = blockList([
  ['127.0.0.0', 8, 'ipv4'],
  ['0.0.0.0', 8, 'ipv4'],
  ['::', 127, 'ipv6'],
])

/**
 * What the proxy may be asked to connect to. A name is judged by its addresses, all of them, and the connection goes
 * to these addresses: a name server that answers differently the next time (DNS rebinding) gains nothing.
 */
export class TargetPolicy {
  readonly #ownPorts = new Set<number>()
  readonly #permitLinkLocal: boolean

  constructor(options: { permitLinkLocal: boolean }) {
    this.#permitLinkLocal = options.permitLinkLocal
  }

  /** A port on which this node listens on loopback: not to be reached through the proxy. */
  denyOwnPort(port: number): void {
    this.#ownPorts.add(port)
  }

  /** @throws ConnectDeniedError, TargetUnreachableError */
  async check(target: Target): Promise<CheckedTarget> {
    const addresses = await resolve(target.host)
    for (const found of addresses) {
      if (this.#isDenied(found, target.port)) {
        throw new ConnectDeniedError(`the proxy does not connect to ${target.host}:${target.port}`)
      }
    }
    return { ...target, addresses }
  }

  #isDenied({ address, family }: { address: string; family: number }, port: number): boolean {
    const kind = family === 4 ? 'ipv4' : 'ipv6'
    if (LINK_LOCAL.check(address, kind) && !this.#permitLinkLocal) return true
    return this.#ownPorts.has(port) && THIS_MACHINE.check(address, kind)
  }
}

async function resolve(host: string): Promise<{ address: string; family: number }[]> {
  const patience = Promise.withResolvers<never>()
  const timer = setTimeout(() => patience.reject(new Error('no answer in time')), RESOLVE_PATIENCE_MS)
  try {
    return await Promise.race([lookup(host, { all: true }), patience.promise])
  } catch (cause) {
    throw new TargetUnreachableError(`cannot resolve ${host}`, { cause })
  } finally {
    clearTimeout(timer)
  }
}
