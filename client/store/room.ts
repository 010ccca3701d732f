import { byteSize } from '../../core/byte-size.ts'
import { DISK_RESERVE_BYTES } from '../../core/disk-space.ts'
import { StoreFullError } from '../errors.ts'

/** Share of `cacheBytesMax` for pushed blobs whose manifest has not passed yet: an abandoned push must not empty the cache. */
export const PUSHED_SHARE_MAX = 1 / 2

/** What decides whether a blob fits, in bytes. */
export interface Room {
  /** Of the blob. */
  bytes: number
  /** Held by other blobs, whole lengths. */
  usedBytes: number
  bytesMax: number
  /** On the disk. */
  freeBytes: number
}

/** Why the blob does not fit, in words that name the setting or the reserve; undefined if it does. */
export function lackOf({ bytes, usedBytes, bytesMax, freeBytes }: Room): StoreFullError | undefined {
  const blob = `no room for a blob of ${byteSize(bytes)}`
  if (bytes > bytesMax) {
    return new StoreFullError(`${blob}: cacheBytesMax is ${byteSize(bytesMax)}`, 'cache')
  }
  if (usedBytes + bytes > bytesMax) {
    const why = `blobs in use hold ${byteSize(usedBytes)} of the ${byteSize(bytesMax)} of cacheBytesMax`
    return new StoreFullError(`${blob}: ${why}`, 'cache')
  }
  if (freeBytes < bytes + DISK_RESERVE_BYTES) {
    const why = `the disk of dataDir has ${byteSize(freeBytes)} free, and ${byteSize(DISK_RESERVE_BYTES)} stay in reserve`
    return new StoreFullError(`${blob}: ${why}`, 'disk')
  }
  return undefined
}
