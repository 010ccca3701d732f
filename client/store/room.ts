import { byteSize } from '../../core/byte-size.ts'
import { StoreFullError } from '../errors.ts'

/** Share of `cacheBytesMax` for pushed blobs whose manifest has not passed yet: an abandoned push must not empty the cache. */
export const PUSHED_SHARE_MAX = 1 / 2

/** How often the store looks whether others fill the disk. */
export const DISK_LOOK_MS = 5_000
/** Bound of blobs that one such look evicts; the next look goes on. */
export const PRESSURE_EVICTIONS_MAX = 64

/** In bytes. */
export interface StoreLimits {
  /** Of all blobs. */
  bytesMax: number
  /** What stays free on the disk. */
  reserveBytes: number
}

/** What decides whether a blob fits, in bytes. */
export interface Room extends StoreLimits {
  /** Of the blob. */
  bytes: number
  /** Held by other blobs, whole lengths. */
  usedBytes: number
  /** On the disk. */
  freeBytes: number
}

/** Why the blob does not fit, in words that name the setting or the reserve; undefined if it does. */
export function lackOf({
  bytes,
  usedBytes,
  bytesMax,
  reserveBytes,
  freeBytes,
}: Room): StoreFullError | undefined {
  const blob = bytes === 0 ? 'no room' : `no room for a blob of ${byteSize(bytes)}`
  if (bytes > bytesMax) {
    return new StoreFullError(`${blob}: cacheBytesMax is ${byteSize(bytesMax)}`, 'cache')
  }
  if (usedBytes + bytes > bytesMax) {
    const why = `blobs in use or pinned hold ${byteSize(usedBytes)} of the ${byteSize(bytesMax)} of cacheBytesMax`
    return new StoreFullError(`${blob}: ${why}`, 'cache')
  }
  if (freeBytes < bytes + reserveBytes) {
    const why = `the disk of dataDir has ${byteSize(Math.max(0, freeBytes))} free, and ${byteSize(reserveBytes)} stay in reserve`
    return new StoreFullError(`${blob}: ${why}`, 'disk')
  }
  return undefined
}
