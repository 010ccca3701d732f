import { lookup as resolve } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { ShoalError } from './errors.ts'
import { isMetadataAddress } from './metadata-addresses.ts'
import type { RegistryConfig } from './registry-config.ts'

/** A blob's redirect leads to a forbidden address: do not follow it; let Docker ask the registry itself. */
export class RedirectRefusedError extends ShoalError {
  readonly code = 'REDIRECT_REFUSED'
}

type RedirectPolicy = Pick<RegistryConfig, 'permitPrivateRedirects'>

/**
 * Addresses that reach this machine; those of its link or its cloud's metadata service are forbidden too. Private ranges
 * (RFC 1918) are permitted, because object stores of on-premises registries are there.
 */
function forbiddenAddresses(): BlockList {
  const list = new BlockList()
  const ipv4: [string, number][] = [
    ['0.0.0.0', 8], // "this network": Linux connects to itself
    ['127.0.0.0', 8],
    ['224.0.0.0', 4],
    ['240.0.0.0', 4],
  ]
  const ipv6: [string, number][] = [
    ['::', 96], // unspecified, loopback, IPv4-compatible
    ['ff00::', 8],
    ['64:ff9b::', 96], // NAT64 and 6to4 carry an IPv4 address, which the list above does not see
    ['64:ff9b:1::', 48],
    ['2002::', 16],
  ]
  for (const [net, bits] of ipv4) list.addSubnet(net, bits, 'ipv4')
  for (const [net, bits] of ipv6) list.addSubnet(net, bits, 'ipv6')
  return list
}

const FORBIDDEN = forbiddenAddresses()

/** True for loopback, link-local, metadata, multicast and reserved addresses, also in IPv4-mapped form. */
export function isForbiddenAddress(address: string): boolean {
  const family = isIP(address)
  if (family === 0) return true
  return isMetadataAddress(address) || FORBIDDEN.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Whether a blob GET may follow a redirect to `url`: no user info and no forbidden address. Plain HTTP is followed, as Docker
 * does: the digest decides about the bytes, and no credential goes along. A name passes here; `guardedLookup` checks its
 * addresses when it resolves the name.
 */
export function isRedirectPermitted(url: URL, policy: RedirectPolicy): boolean {
  if (!['https:', 'http:'].includes(url.protocol) || url.username !== '' || url.password !== '') return false
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return policy.permitPrivateRedirects || isIP(host) === 0 || !isForbiddenAddress(host)
}

/**
 * Refuses a name with any forbidden address.
 * @throws RedirectRefusedError
 */
export function judgeRedirect(
  policy: RedirectPolicy,
  host: string,
  addresses: readonly { address: string }[],
): void {
  if (policy.permitPrivateRedirects || !addresses.some(({ address }) => isForbiddenAddress(address))) return
  throw new RedirectRefusedError(`${host} has an address that redirects may not lead to`)
}

/** For `connect.lookup`: fails with RedirectRefusedError if a name has any forbidden address (DNS rebinding). */
export function guardedLookup(policy: RedirectPolicy): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '')
      try {
        judgeRedirect(policy, hostname, addresses)
      } catch (refusal) {
        return callback(refusal as RedirectRefusedError, '')
      }
      if (options.all) return callback(null, addresses)
      const first = addresses[0]
      callback(null, first?.address ?? '', first?.family)
    })
  }
}
