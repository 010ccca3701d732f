import { UnreadableExtensionError } from './errors.ts'

/** Names for which an authority may issue (RFC 5280 §4.2.1.10), as text: DNS names, addresses in CIDR form, other forms. */
export interface NameConstraints {
  permitted: string[]
  excluded: string[]
}

interface Element {
  tag: number
  content: Buffer
}

const TAG = {
  sequence: 0x30,
  permitted: 0xa0,
  excluded: 0xa1,
  email: 0x81,
  dnsName: 0x82,
  uri: 0x86,
  ipAddress: 0x87,
} as const

/**
 * Reads the DER of a NameConstraints extension.
 * @throws UnreadableExtensionError
 */
export function readNameConstraints(der: Buffer): NameConstraints {
  const [sequence, ...rest] = elements(der)
  if (sequence?.tag !== TAG.sequence || rest.length > 0)
    throw new UnreadableExtensionError('not name constraints')
  const parts = elements(sequence.content)
  const subtrees = (tag: number) =>
    elements(parts.find((part) => part.tag === tag)?.content ?? Buffer.alloc(0)).map(subtreeText)
  return { permitted: subtrees(TAG.permitted), excluded: subtrees(TAG.excluded) }
}

function subtreeText(subtree: Element): string {
  const base = elements(subtree.content)[0]
  if (base?.tag === TAG.dnsName)
    return base.content.length === 0 ? 'any name' : base.content.toString('ascii')
  if (base?.tag === TAG.ipAddress) return rangeText(base.content)
  if (base?.tag === TAG.email) return `email addresses at ${base.content.toString('ascii')}`
  if (base?.tag === TAG.uri) return `URIs at ${base.content.toString('ascii')}`
  return 'other names'
}

/** Address, then mask, of 4 or 16 bytes each. */
function rangeText(range: Buffer): string {
  if (range.length !== 8 && range.length !== 32) throw new UnreadableExtensionError('not an address range')
  const address = range.subarray(0, range.length / 2)
  const isIpv4 = address.length === 4
  const prefix = [...range.subarray(range.length / 2)].reduce((sum, byte) => sum + oneBits(byte), 0)
  if (prefix === 0) return `any ${isIpv4 ? 'IPv4' : 'IPv6'} address`
  const text = isIpv4 ? [...address].join('.') : ipv6Text(address)
  return prefix === address.length * 8 ? text : `${text}/${prefix}`
}

function oneBits(byte: number): number {
  return byte.toString(2).replaceAll('0', '').length
}

function ipv6Text(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** The consecutive elements in `der`; lengths of up to two bytes. */
function elements(der: Buffer): Element[] {
  const found: Element[] = []
  let offset = 0
  while (offset < der.length) {
    const tag = der[offset]!
    const first = der[offset + 1] ?? 0
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    if (lengthBytes > 2 || offset + 2 + lengthBytes > der.length)
      throw new UnreadableExtensionError('bad length')
    const length = lengthBytes === 0 ? first : der.readUIntBE(offset + 2, lengthBytes)
    const start = offset + 2 + lengthBytes
    if (start + length > der.length) throw new UnreadableExtensionError('cut short')
    found.push({ tag, content: der.subarray(start, start + length) })
    offset = start + length
  }
  return found
}
