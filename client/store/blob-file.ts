import { read, readSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { decryptUnit, encryptUnit, UNIT_BYTES, unitBytesAt } from './blob-cipher.ts'

/** A blob's open file, as the verifying thread also gets it. Positions are those of the blob's own bytes. */
export interface BlobFile {
  fd: number
  /** Size of the whole blob. */
  bytes: number
  /** The key that the file is encrypted with (blob-cipher.ts). */
  key: Uint8Array | undefined
}

/** Source and target of a read. Positions and lengths are bytes. */
export interface FileRead {
  target: Uint8Array
  /** In `target`. */
  at: number
  length: number
  /** In the blob; `position + length` is not beyond its end. */
  position: number
}

/**
 * Bytes of one write. Larger writes into a hole of a file make ext4 reserve and clear large folios: pieces of 4 MiB
 * in one write reached 500 MiB/s, in writes of 256 KiB 3,500 MiB/s (Linux 6.18, docs/performance.md).
 */
const WRITE_BYTES = 256 * 1024

const readAt = promisify(read)

/** @returns false when the file is shorter. @throws of `fs.readSync` */
export function readFileSync(file: BlobFile, wanted: FileRead): boolean {
  const stretch = stretchOf(file, wanted)
  const { target, at, length, position } = stretch
  if (readSync(file.fd, target, at, length, position) !== length) return false
  decrypt(file, wanted, stretch)
  return true
}

/** The same through the thread pool; decryption runs in this thread. */
export async function readFile(file: BlobFile, wanted: FileRead): Promise<boolean> {
  const stretch = stretchOf(file, wanted)
  const { target, at, length, position } = stretch
  const { bytesRead } = await readAt(file.fd, target, at, length, position)
  if (bytesRead !== length) return false
  decrypt(file, wanted, stretch)
  return true
}

/** @param position with a key, the beginning of a unit; the bytes end with a unit or with the blob */
export function writeFileSync(file: BlobFile, bytes: Uint8Array, position: number): void {
  if (file.key === undefined) {
    for (let from = 0; from < bytes.length; from += WRITE_BYTES)
      writeWholly(file.fd, bytes.subarray(from, from + WRITE_BYTES), position + from)
    return
  }
  for (let from = 0; from < bytes.length; from += UNIT_BYTES) {
    const index = (position + from) / UNIT_BYTES
    const unit = { key: file.key, index, bytes: bytes.subarray(from, from + UNIT_BYTES) }
    encryptUnit(unit, (sealed) => writeWholly(file.fd, sealed, position + from))
  }
}

function writeWholly(fd: number, bytes: Uint8Array, position: number): void {
  for (let written = 0; written < bytes.length; )
    written += writeSync(fd, bytes, written, bytes.length - written, position + written)
}

/** The read to do in the file: of the bytes themselves, or of the units that hold them, into separate memory. */
function stretchOf({ bytes, key }: BlobFile, wanted: FileRead): FileRead {
  if (key === undefined) return wanted
  const first = Math.floor(wanted.position / UNIT_BYTES)
  const last = Math.floor((wanted.position + wanted.length - 1) / UNIT_BYTES)
  const length = (last - first) * UNIT_BYTES + unitBytesAt(last, bytes)
  // Whole units, as most blocks are, are read into the target and decrypted from there.
  if (length === wanted.length) return wanted
  return { target: Buffer.allocUnsafe(length), at: 0, length, position: first * UNIT_BYTES }
}

function decrypt({ bytes, key }: BlobFile, wanted: FileRead, stretch: FileRead): void {
  if (key === undefined) return
  const { position, length } = wanted
  for (let from = stretch.position; from < position + length; from += UNIT_BYTES) {
    const index = from / UNIT_BYTES
    const at = stretch.at + from - stretch.position
    const begin = Math.max(position, from)
    const end = Math.min(position + length, from + UNIT_BYTES)
    const unit = { key, index, bytes: stretch.target.subarray(at, at + unitBytesAt(index, bytes)) }
    decryptUnit(unit, (plain) => {
      wanted.target.set(plain.subarray(begin - from, end - from), wanted.at + begin - position)
    })
  }
}
