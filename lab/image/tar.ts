import { TAR_BLOCK_BYTES, tarPadding } from '../../core/tar.ts'

export { TAR_END, type TarEntry, tarHeader, tarPadding } from '../../core/tar.ts'

/** A reader of streams in the ustar format (core/tar.ts writes it). */

/** Bound of a long-name or pax header's contents, checked before they are read. */
const EXTENSION_BYTES_MAX = 64 * 1024

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
    const missing = TAR_BLOCK_BYTES - this.#header.length
    this.#header = Buffer.concat([this.#header, chunk.subarray(0, missing)])
    if (this.#header.length === TAR_BLOCK_BYTES) {
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
