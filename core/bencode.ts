import { InvalidInputError } from './errors.ts'

/** Bencoding (BEP 3). Byte strings are Buffers (views of the input), integers safe numbers, dictionaries Maps. */
export type Bencoded = number | Buffer | Bencoded[] | BencodedDictionary
export type BencodedDictionary = Map<string, Bencoded>
/** Values that can be encoded. Strings are UTF-8; keys of Maps are latin1 (one byte a character), as in decoding. */
export type Encodable =
  | number
  | string
  | Uint8Array
  | Encodable[]
  | ReadonlyMap<string, Encodable>
  | { [key: string]: Encodable | undefined }

/** Nesting of lists and dictionaries; a torrent needs four. */
const DEPTH_MAX = 8
/** Digits of an integer or a length: 2^53 has 16. */
const DIGITS_MAX = 16

const [I, L, D, E, COLON, MINUS, ZERO, NINE] = [0x69, 0x6c, 0x64, 0x65, 0x3a, 0x2d, 0x30, 0x39] as const

/** Sorts keys by their bytes, as BEP 3 requires, and omits undefined values. */
export function encodeBencode(value: Encodable): Buffer {
  const parts: Uint8Array[] = []
  encodeInto(value, parts)
  return Buffer.concat(parts)
}

function encodeInto(value: Encodable, parts: Uint8Array[]): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new InvalidInputError('only safe integers can be bencoded')
    parts.push(Buffer.from(`i${value}e`))
  } else if (typeof value === 'string') {
    encodeInto(Buffer.from(value), parts)
  } else if (value instanceof Uint8Array) {
    parts.push(Buffer.from(`${value.length}:`), value)
  } else if (Array.isArray(value)) {
    parts.push(Buffer.from('l'))
    for (const item of value) encodeInto(item, parts)
    parts.push(Buffer.from('e'))
  } else {
    encodeDictionary(entriesOf(value), parts)
  }
}

type Entry = { key: Buffer; value: Encodable | undefined }

function entriesOf(
  dictionary: ReadonlyMap<string, Encodable> | { [key: string]: Encodable | undefined },
): Entry[] {
  if (dictionary instanceof Map) {
    return [...dictionary].map(([key, value]) => ({ key: Buffer.from(key, 'latin1'), value }))
  }
  return Object.entries(dictionary).map(([key, value]) => ({ key: Buffer.from(key), value }))
}

function encodeDictionary(entries: Entry[], parts: Uint8Array[]): void {
  parts.push(Buffer.from('d'))
  for (const { key, value } of entries.sort((a, b) => Buffer.compare(a.key, b.key))) {
    if (value === undefined) continue
    encodeInto(key, parts)
    encodeInto(value, parts)
  }
  parts.push(Buffer.from('e'))
}

/**
 * Decodes one value that fills `bytes` completely.
 * @throws InvalidInputError when malformed, nested deeper than 8, or followed by anything
 */
export function decodeBencode(bytes: Buffer): Bencoded {
  const { value, end } = decodeBencodePrefix(bytes)
  if (end !== bytes.length) throw new InvalidInputError('bytes after the bencoded value')
  return value
}

/** Decodes the value at the start of `bytes`. @returns the value and the offset after it */
export function decodeBencodePrefix(bytes: Buffer): { value: Bencoded; end: number } {
  const decoder = new Decoder(bytes)
  const value = decoder.value(0)
  return { value, end: decoder.offset }
}

class Decoder {
  offset = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  value(depth: number): Bencoded {
    if (depth > DEPTH_MAX) throw new InvalidInputError('bencoded value nested too deeply')
    const byte = this.#bytes[this.offset]
    if (byte === I) return this.#integer()
    if (byte === L) return this.#list(depth)
    if (byte === D) return this.#dictionary(depth)
    return this.#string()
  }

  #integer(): number {
    this.offset += 1
    return this.#digits(E, true)
  }

  #string(): Buffer {
    const length = this.#digits(COLON, false)
    const end = this.offset + length
    if (end > this.#bytes.length) throw new InvalidInputError('bencoded string longer than its input')
    const string = this.#bytes.subarray(this.offset, end)
    this.offset = end
    return string
  }

  #list(depth: number): Bencoded[] {
    this.offset += 1
    const items: Bencoded[] = []
    while (!this.#isAtEnd()) items.push(this.value(depth + 1))
    return items
  }

  #dictionary(depth: number): BencodedDictionary {
    this.offset += 1
    const entries: BencodedDictionary = new Map()
    while (!this.#isAtEnd()) {
      const key = this.#string().toString('latin1')
      if (entries.has(key)) throw new InvalidInputError('repeated key in a bencoded dictionary')
      entries.set(key, this.value(depth + 1))
    }
    return entries
  }

  #isAtEnd(): boolean {
    if (this.#bytes[this.offset] !== E) return false
    this.offset += 1
    return true
  }

  /** Canonical decimal up to `terminator`: no leading zeros, no minus zero. */
  #digits(terminator: number, isSigned: boolean): number {
    const start = this.offset
    let cursor = start
    if (isSigned && this.#bytes[cursor] === MINUS) cursor += 1
    const first = cursor
    while (cursor - first <= DIGITS_MAX && this.#isDigit(cursor)) cursor += 1
    const text = this.#bytes.toString('latin1', start, cursor)
    const isCanonical = text === '0' || (cursor > first && this.#bytes[first] !== ZERO)
    if (this.#bytes[cursor] !== terminator || !isCanonical || !Number.isSafeInteger(Number(text))) {
      throw new InvalidInputError('malformed bencoded number')
    }
    this.offset = cursor + 1
    return Number(text)
  }

  #isDigit(at: number): boolean {
    const byte = this.#bytes[at]
    return byte !== undefined && byte >= ZERO && byte <= NINE
  }
}
