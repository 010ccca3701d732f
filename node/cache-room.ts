import { statfsSync } from 'node:fs'
import { DISK_RESERVE_BYTES } from '../core/disk-space.ts'
import type { NodeConfig } from './config.ts'

/** How much of the disk a node takes for blobs where nothing is set. */

/** Bound of the cache, in bytes … */
export const CACHE_BYTES_DEFAULT_MAX = 20 * 1024 ** 3
/** … and as a share of the disk. */
export const CACHE_DISK_SHARE = 1 / 10
/** Share of the disk that stays free: a kubelet evicts pods and images when less than 15 % are free. */
export const DISK_FREE_SHARE = 1 / 5

export interface CacheRoom {
  cacheBytesMax: number
  /** What the cache leaves free on the disk. */
  diskReserveBytes: number
}

/** Of the disk of `dataDir`, which exists. A size that an operator has set counts alone. */
export function cacheRoom({ cacheBytesMax, dataDir }: Readonly<NodeConfig>): CacheRoom {
  if (cacheBytesMax !== undefined) return { cacheBytesMax, diskReserveBytes: DISK_RESERVE_BYTES }
  const { blocks, bsize } = statfsSync(dataDir)
  return defaultRoomOn(blocks * bsize)
}

export function defaultRoomOn(diskBytes: number): CacheRoom {
  return {
    cacheBytesMax: Math.min(CACHE_BYTES_DEFAULT_MAX, Math.floor(diskBytes * CACHE_DISK_SHARE)),
    diskReserveBytes: Math.max(DISK_RESERVE_BYTES, Math.floor(diskBytes * DISK_FREE_SHARE)),
  }
}
