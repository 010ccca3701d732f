import { BlockList, isIP } from 'node:net'

/** Link-local addresses, and others where clouds give credentials to any program of this machine. */
const RANGES: [string, number, 'ipv4' | 'ipv6'][] = [
  ['169.254.0.0', 16, 'ipv4'], // RFC 3927
  ['fe80::', 10, 'ipv6'], // RFC 4291 §2.5.6
  ['100.100.100.200', 32, 'ipv4'], // Alibaba Cloud
  ['168.63.129.16', 32, 'ipv4'], // Azure: WireServer
  ['192.0.0.192', 32, 'ipv4'], // Oracle Cloud
  ['fd00:ec2::', 32, 'ipv6'], // AWS
  ['fd20:ce::254', 128, 'ipv6'], // Google Cloud
  ['fd00:42::42', 128, 'ipv6'], // Scaleway
  ['fd00:a9fe:a9fe::1', 128, 'ipv6'], // Akamai (Linode)
]

const LIST = new BlockList()
for (const [net, bits, family] of RANGES) LIST.addSubnet(net, bits, family)

/**
 * True for link-local and metadata addresses, also if IPv6 carries them as an IPv4 address: mapped (RFC 4291 §2.5.5.2),
 * NAT64 (RFC 6052 §2.2, RFC 8215) and 6to4 (RFC 3056 §2).
 * @param address without brackets
 */
export function isMetadataAddress(address: string): boolean {
  const family = isIP(address)
  if (family === 4) return LIST.check(address, 'ipv4')
  if (family === 0) return false
  const bare = address.replace(/%.*$/, '')
  return LIST.check(bare, 'ipv6') || carriedIpv4(bare).some((carried) => LIST.check(carried, 'ipv4'))
}

function carriedIpv4(address: string): string[] {
  const bytes = bytesOf(address)
  const at = (...places: number[]) => places.map((place) => bytes[place]).join('.')
  const startsWith = (...groups: number[]) =>
    groups.every((group, index) => bytes.readUInt16BE(2 * index) === group)
  if (startsWith(0x2002)) return [at(2, 3, 4, 5)]
  if (startsWith(0x64, 0xff9b, 0, 0, 0, 0)) return [at(12, 13, 14, 15)]
  // A network chooses the length of the prefix within its /48; byte 8 is skipped.
  if (startsWith(0x64, 0xff9b, 1))
    return [at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12), at(12, 13, 14, 15)]
  return []
}

function bytesOf(address: string): Buffer {
  // Use WHATWG's form, which has only groups of hex digits.
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groupsOf = (text = '') => (text === '' ? [] : text.split(':'))
  const [first, last] = [groupsOf(head), groupsOf(tail)]
  const zeros = Array<string>(8 - first.length - last.length).fill('0')
  const groups = [...first, ...zeros, ...last].map((group) => group.padStart(4, '0'))
  return Buffer.from(groups.join(''), 'hex')
}
