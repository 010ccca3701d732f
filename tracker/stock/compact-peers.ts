import { isIPv4, isIPv6 } from 'node:net'
import { InvalidInputError } from '../../core/errors.ts'

interface Endpoint {
  address: string
  port: number
}

/** Packs peers as in BEP 23 (`peers`: 4 bytes of IPv4 address, 2 of port) and BEP 7 (`peers6`: 16 and 2). */
export function compactPeers(endpoints: readonly Endpoint[]): { peers: Buffer; peers6: Buffer } {
  const packed = (isOfFamily: (address: string) => boolean) =>
    Buffer.concat(endpoints.filter(({ address }) => isOfFamily(address)).map(pack))
  return { peers: packed(isIPv4), peers6: packed(isIPv6) }
}

function pack({ address, port }: Endpoint): Buffer {
  const bytes = isIPv4(address) ? address.split('.').map(Number) : ipv6Bytes(address)
  return Buffer.from([...bytes, port >> 8, port & 0xff])
}

/**
 * The 16 bytes of an IPv6 address in the form that Node prints (RFC 5952), without a zone after `%`.
 * @throws InvalidInputError if the text does not give 16 bytes
 */
export function ipv6Bytes(address: string): number[] {
  const [head = '', tail] = address.replace(/%.*$/, '').split('::')
  const before = groupsOf(head)
  const after = tail === undefined ? [] : groupsOf(tail)
  const zeros = new Array(Math.max(0, 16 - before.length - after.length)).fill(0)
  const bytes = [...before, ...zeros, ...after]
  if (bytes.length !== 16) throw new InvalidInputError('not an IPv6 address')
  return bytes
}

/** Groups of 16 bits in hex, the last of which may be an IPv4 address (RFC 4291 §2.2). */
function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (isIPv4(group)) return group.split('.').map(Number)
    const bits = Number.parseInt(group, 16)
    return [bits >> 8, bits & 0xff]
  })
}
