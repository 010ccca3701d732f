import { BlockList, isIP, isIPv6 } from 'node:net'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** IPv4-mapped IPv6 addresses are seen through. */
export function isLoopbackAddress(address: string): boolean {
  const family = isIP(address)
  return family !== 0 && LOOPBACK.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

/** A loopback address, or the name for one (RFC 6761 §6.3). Any other name may lead anywhere. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || isLoopbackAddress(host)
}

/** Whether a Host field names this machine by loopback. Pages in browsers reach other names by DNS rebinding. */
export function isLoopbackAuthority(host: string): boolean {
  return isLoopbackHost(nameIn(host))
}

/** The name or address in a Host field, in lower case, without port and brackets. */
export function nameIn(host: string): string {
  return host
    .replace(/:\d{1,5}$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}

/** `host:port`, an IPv6 address in brackets (RFC 3986 §3.2.2). */
export function addressText({ host, port }: { host: string; port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

const ADDRESS_TEXT = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/

/** What addressText writes. @returns undefined for anything else */
export function parseAddressText(text: string): { host: string; port: number } | undefined {
  const [, ipv6, name, port] = ADDRESS_TEXT.exec(text) ?? []
  const host = ipv6 ?? name
  return host === undefined || Number(port) > 65_535 ? undefined : { host, port: Number(port) }
}

/** The address of an IPv4 caller of a dual-stack listener without its IPv6 prefix (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}

/**
 * The network whose shares a caller uses: its IPv4 address, or the first 64 bits of its IPv6 address, because the owner of
 * one such address has all 2^64 of its subnet (RFC 4291 §2.5.4, RFC 6177).
 */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.replace(/%.*$/, '').split('::')
  const before = groupsOf(head)
  const after = groupsOf(tail ?? '')
  const zeros = Array<string>(8 - before.length - after.length).fill('0')
  const prefix = [...before, ...zeros, ...after].slice(0, 4)
  return `${prefix.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}

/** The 16-bit groups of one side of `::`. A dotted quad at the end counts as two; their values do not matter here. */
function groupsOf(side: string): string[] {
  if (side === '') return []
  return side.split(':').flatMap((group) => (group.includes('.') ? ['0', '0'] : [group]))
}
