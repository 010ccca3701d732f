/** The ustar format (POSIX.1-2001, pax, "ustar Interchange Format"): headers to write, and a reader of streams. */

const BLOCK_BYTES = 512
/** Two blocks of zeros end an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK_BYTES)
/** Bound of a long-name or pax header's contents, checked before they are read. */
const EXTENSION_BYTES_MAX = 64 * 1024

/** The type flags that are written here. */
const TYPE_FLAGS = { file: '0', link: '2', folder: '5' } as const

export interface TarEntry {
  name: string
  mode: number
  bytes: number
  /** Default: a file. */
  type?: keyof typeof TYPE_FLAGS
  /** Where a symbolic link leads. */
  target?: string
  /** User and group; default: root. */
  owner?: number
  /** Time of the last change, in seconds of Unix time. Default 0: it does not matter and would change the digest. */
  timeS?: number
}

/** @throws RangeError when the name or the target is longer than the 100 bytes of its field */
export function tarHeader({
  name,
  mode,
  bytes,
  type = 'file',
  target = '',
  owner = 0,
  timeS = 0,
}: TarEntry): Buffer {
  for (const text of [name, target]) {
    if (Buffer.byteLength(text) > 100)
      throw new RangeError(`the name is too long for a ustar header: ${text}`)
  }
  const header = Buffer.alloc(BLOCK_BYTES)
  header.write(name, 0)
  header.write(octal(mode, 8), 100)
  header.write(octal(owner, 8), 108)
  header.write(octal(owner, 8), 116)
  header.write(octal(bytes, 12), 124)
  header.write(octal(timeS, 12), 136)
  header.fill(' ', 148, 156) // the checksum counts its own field as spaces
  header.write(TYPE_FLAGS[type], 156)
  header.write(target, 157)
  header.write('ustar\0', 257)
  header.write('00', 263)
  header.write(octal(checksumOf(header), 7), 148)
  return header
}

/** Zeros from the end of a file of this length to the next block. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES)
}

function octal(value: number, fieldBytes: number): string {
  return `${value.toString(8).padStart(fieldBytes - 1, '0')}\0`
}

function checksumOf(header: Buffer): number {
  return header.reduce((sum, byte) => sum + byte, 0)
}

/** Receives one file's bytes as they pass. */
export interface TarFileSink {
  data(chunk: Buffer): void
  end(): void
}

/** @returns the receiver of the file, or undefined to skip the file */
export type TarVisitor = (name: string) => TarFileSink | undefined

/**
 * Reads an archive chunk by chunk and keeps none of it. Names are those of the header; names in pax or GNU extensions
 * are skipped, since the readers here look at contents only.
 */
export class TarReader {
  readonly #visit: TarVisitor
  #header = Buffer.alloc(0)
  #file: TarFileSink | undefined
  #fileLeft = 0
  #paddingLeft = 0

  constructor(visit: TarVisitor) {
    this.#visit = visit
  }

  /** @throws RangeError when the stream is no archive */
  push(chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) rest = this.#take(rest)
  }

  #take(chunk: Buffer): Buffer {
    if (this.#fileLeft > 0) return this.#takeFile(chunk)
    if (this.#paddingLeft > 0) {
      const skipped = Math.min(this.#paddingLeft, chunk.length)
      this.#paddingLeft -= skipped
      return chunk.subarray(skipped)
    }
    return this.#takeHeader(chunk)
  }

  #takeFile(chunk: Buffer): Buffer {
    const data = chunk.subarray(0, this.#fileLeft)
    this.#file?.data(data)
    this.#fileLeft -= data.length
    if (this.#fileLeft === 0) this.#file?.end()
    return chunk.subarray(data.length)
  }

  #takeHeader(chunk: Buffer): Buffer {
    const missing = BLOCK_BYTES - this.#header.length
    this.#header = Buffer.concat([this.#header, chunk.subarray(0, missing)])
    if (this.#header.length === BLOCK_BYTES) {
      this.#begin(this.#header)
      this.#header = Buffer.alloc(0)
    }
    return chunk.subarray(missing)
  }

  #begin(header: Buffer): void {
    if (header.every((byte) => byte === 0)) return
    const bytes = sizeIn(header)
    const isOrdinaryFile = header[156] === 0x30 || header[156] === 0
    this.#file = isOrdinaryFile ? this.#visit(nameIn(header)) : undefined
    this.#fileLeft = bytes
    this.#paddingLeft = tarPadding(bytes).length
    if (bytes === 0) this.#file?.end()
    if (!isOrdinaryFile && bytes > EXTENSION_BYTES_MAX)
      throw new RangeError('an extension header is too long')
  }
}

function nameIn(header: Buffer): string {
  const text = header.toString('utf8', 0, 100)
  const end = text.indexOf('\0')
  return end < 0 ? text : text.slice(0, end)
}

/** Octal digits, or GNU's binary form above 8 GiB, marked by the first bit. */
function sizeIn(header: Buffer): number {
  const field = header.subarray(124, 136)
  if (field[0]! & 0x80) return Number(field.readBigUInt64BE(4))
  const text = field
    .toString('ascii')
    .replace(/[\0 ]+$/, '')
    .trim()
  if (!/^[0-7]+$/.test(text)) throw new RangeError('this is not a tar archive')
  return Number.parseInt(text, 8)
}
