/** Writes the part of DER (ITU-T X.690) that certificates need. */

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** Tag, length in the shortest form, and the contents. */
export function der(tag: number, ...contents: Buffer[]): Buffer {
  const bytes = contents.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([header(tag, bytes), ...contents])
}

function header(tag: number, bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.from([tag, bytes])
  if (bytes < 0x100) return Buffer.from([tag, 0x81, bytes])
  if (bytes < 0x10000) return Buffer.from([tag, 0x82, bytes >> 8, bytes & 0xff])
  return Buffer.from([tag, 0x83, bytes >> 16, (bytes >> 8) & 0xff, bytes & 0xff])
}

/** An object identifier from its hex encoding, without tag and length. */
export function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

/** UTCTime through 2049, GeneralizedTime from 2050 on; whole seconds (RFC 5280 §4.1.2.5). */
export function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`
  const isUtcTime = text < '2050'
  return isUtcTime
    ? der(TAG.utcTime, Buffer.from(text.slice(2), 'ascii'))
    : der(TAG.generalizedTime, Buffer.from(text, 'ascii'))
}

/** An element with its contents and its end. Definite lengths only, as DER requires. */
export interface DerElement {
  tag: number
  /** The whole element, including tag and length. */
  whole: Buffer
  contents: Buffer
}

/** The consecutive elements in `bytes`, which this process made or already parsed. */
export function elementsOf(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = []
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at + 1]!
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes)
    const start = at + 2 + lengthBytes
    elements.push({
      tag: bytes[at]!,
      whole: bytes.subarray(at, start + length),
      contents: bytes.subarray(start, start + length),
    })
    at = start + length
  }
  return elements
}
