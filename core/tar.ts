/** The ustar format (POSIX.1-2001, pax, "ustar Interchange Format"): headers to write. */

export const TAR_BLOCK_BYTES = 512
/** Two blocks of zeros end an archive. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK_BYTES)
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
  const header = Buffer.alloc(TAR_BLOCK_BYTES)
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
  return Buffer.alloc((TAR_BLOCK_BYTES - (bytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES)
}

function octal(value: number, fieldBytes: number): string {
  return `${value.toString(8).padStart(fieldBytes - 1, '0')}\0`
}

function checksumOf(header: Buffer): number {
  return header.reduce((sum, byte) => sum + byte, 0)
}
