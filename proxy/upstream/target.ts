import { lookup } from 'node:dns/promises'
import { BlockList, isIP, isIPv4, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { isMetadataAddress } from '../../core/metadata-addresses.ts'
import { inTime } from '../../core/patience.ts'
import type { ProxyAddress, UpstreamProxy } from '../../core/upstream-proxy.ts'
import { ConnectDeniedError, ProxyRequestError, TargetUnreachableError } from '../errors.ts'

/** Host and port as the client wrote them; IPv6 addresses without their brackets. */
export interface Target {
  host: string
  port: number
}

/** A target with its resolved and checked addresses: connect to these, never to the name again. */
export interface CheckedTarget extends Target {
  addresses: { address: string; family: number }[]
  /** The proxy through which alone it is reached. It resolves the name by itself, so `addresses` may be empty. */
  via?: UpstreamProxy
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
  return { host: unmapped(host), port }
}

/** An IPv4 address that is written as IPv6 (RFC 4291 §2.5.5.2) is the IPv4 address, also where there is no IPv6. */
function unmapped(host: string): string {
  const rest = host.slice('::ffff:'.length)
  return host.startsWith('::ffff:') && isIPv4(rest) ? rest : host
}

/** An address and never a name, because a name is judged by its addresses. */
export type PermittedTarget = Target

export interface TargetPermissions {
  /** Link-local and metadata addresses may be reached. */
  permitLinkLocal: boolean
  /** Targets that may be reached although they are otherwise denied; default []. */
  permittedTargets?: readonly PermittedTarget[]
  upstreamProxy?: UpstreamProxy | undefined
}

/** Bound of the list of permitted targets. */
const PERMITTED_TARGETS_MAX = 64

/**
 * Reads `169.254.169.254:80,[fd00:ec2::254]:80`, or `none`.
 * @throws ProxyRequestError for an entry that is not an address with a port
 */
export function parsePermittedTargets(text: string): PermittedTarget[] {
  const entries = text === 'none' ? [] : text.split(',').map((entry) => parseAuthority(entry.trim()))
  if (entries.length > PERMITTED_TARGETS_MAX || entries.some(({ host }) => isIP(host) === 0)) {
    throw new ProxyRequestError('addresses with ports are expected')
  }
  return entries
}

function blockList(ranges: [string, number, 'ipv4' | 'ipv6'][]): BlockList {
  const list = new BlockList()
  for (const [net, bits, family] of ranges) list.addSubnet(net, bits, family)
  return list
}

/** Addresses that lead to a listener on loopback. With the unspecified ones Linux connects to itself. */
const THIS_MACHINE = blockList([
  ['127.0.0.0', 8, 'ipv4'],
  ['0.0.0.0', 8, 'ipv4'],
  ['::', 127, 'ipv6'],
])

/**
 * Decides which targets the proxy connects to. A name is judged by all of its addresses, and the connection goes to these
 * addresses: a name server that answers differently the next time (DNS rebinding) gains nothing.
 */
export class TargetPolicy {
  readonly #ownPorts = new Set<number>()
  #permitLinkLocal = false
  #permitted: readonly PermittedTarget[] = []
  readonly #proxy: UpstreamProxy | undefined

  constructor(options: TargetPermissions) {
    this.#proxy = options.upstreamProxy
    this.permit(options)
  }

  /** For connections from now on. */
  permit({ permitLinkLocal, permittedTargets = [] }: TargetPermissions): void {
    this.#permitLinkLocal = permitLinkLocal
    this.#permitted = permittedTargets
  }

  /** Denies a port on which this node listens, at every address of this machine. */
  denyOwnPort(port: number): void {
    this.#ownPorts.add(port)
  }

  /**
   * A target for a tunnel.
   * @throws ConnectDeniedError, TargetUnreachableError
   */
  async check(target: Target): Promise<CheckedTarget> {
    if (!this.#proxy?.isUsedFor(target.host, target.port))
      return this.#judge(target, await resolve(target.host))
    return { ...this.#judge(target, await addressesOf(this.#proxy, target)), via: this.#proxy }
  }

  /**
   * A target for a plain request, and the proxy that the request goes to instead, if there is one.
   * @throws as `check`
   */
  async checkPlain(target: Target): Promise<{ target: CheckedTarget; via?: ProxyAddress }> {
    const via = this.#proxy?.plainProxyFor(target.host, target.port)
    if (this.#proxy === undefined || via === undefined)
      return { target: this.#judge(target, await resolve(target.host)) }
    return { target: this.#judge(target, await addressesOf(this.#proxy, target)), via }
  }

  /** @throws TargetUnreachableError */
  async dialProxy(via: ProxyAddress): Promise<Socket> {
    try {
      return await this.#proxy!.dial(via)
    } catch (cause) {
      throw new TargetUnreachableError((cause as Error).message, { cause })
    }
  }

  #judge(target: Target, addresses: CheckedTarget['addresses']): CheckedTarget {
    for (const found of addresses) {
      if (this.#isDenied(found, target.port)) {
        throw new ConnectDeniedError(`the proxy does not connect to ${target.host}:${target.port}`)
      }
    }
    return { ...target, addresses }
  }

  #isDenied({ address, family }: { address: string; family: number }, port: number): boolean {
    const kind = family === 4 ? 'ipv4' : 'ipv6'
    if (this.#isPermitted(address, kind, port)) return false
    if (!this.#permitLinkLocal && isMetadataAddress(address)) return true
    return this.#ownPorts.has(port) && isThisMachine(address)
  }

  #isPermitted(address: string, kind: 'ipv4' | 'ipv6', port: number): boolean {
    return this.#permitted.some((target) => {
      const list = new BlockList()
      list.addAddress(target.host, isIP(target.host) === 4 ? 'ipv4' : 'ipv6')
      return target.port === port && list.check(address, kind)
    })
  }
}

/** Whether a connection to the address leads to this machine. */
export function isThisMachine(address: string): boolean {
  const kind = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  return THIS_MACHINE.check(address, kind) || isOwnAddress(address, kind)
}

/** The peer listener is not only on loopback. Reads the addresses each time, as they come and go. */
function isOwnAddress(address: string, kind: 'ipv4' | 'ipv6'): boolean {
  const own = new BlockList()
  for (const found of Object.values(networkInterfaces()).flat()) {
    if (found !== undefined) own.addAddress(found.address, found.family === 'IPv4' ? 'ipv4' : 'ipv6')
  }
  return own.check(address, kind)
}

/** @throws TargetUnreachableError */
async function addressesOf(proxy: UpstreamProxy, { host }: Target): Promise<CheckedTarget['addresses']> {
  try {
    return await proxy.resolve(host)
  } catch (cause) {
    throw new TargetUnreachableError(`cannot resolve ${host}`, { cause })
  }
}

async function resolve(host: string): Promise<{ address: string; family: number }[]> {
  try {
    return await inTime(lookup(host, { all: true }), RESOLVE_PATIENCE_MS)
  } catch (cause) {
    throw new TargetUnreachableError(`cannot resolve ${host}`, { cause })
  }
}
