import { randomBytes } from 'node:crypto'
import { statfsSync } from 'node:fs'
import type { ClientOptions } from '../client/index.ts'
import { ConfigError, readSecretFile } from '../core/config.ts'
import { DISK_RESERVE_BYTES } from '../core/disk-space.ts'
import type { NodeConfig } from './config.ts'

/** Where a node keeps blobs: how much of the disk it takes, and under which key. */

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

/** @throws ConfigError */
export function cacheOptions(config: Readonly<NodeConfig>): CacheRoom & Pick<ClientOptions, 'cacheSecret'> {
  return { ...cacheRoom(config), ...cacheSecretOf(config.cacheKeyFile) }
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

const CACHE_KEY = /^SHOALKEY-1-([A-Za-z0-9_-]{43})$/

function cacheSecretOf(cacheKeyFile: string): Pick<ClientOptions, 'cacheSecret'> {
  if (cacheKeyFile === 'none') return {}
  if (cacheKeyFile === 'memory') return { cacheSecret: randomBytes(32) }
  const [, key] = CACHE_KEY.exec(readSecretFile(cacheKeyFile, 'cacheKeyFile')) ?? []
  if (key === undefined) {
    const hint = 'A key is one line, SHOALKEY-1-…; `shoal certs unlock-key --out <file>` makes one.'
    throw new ConfigError(`cacheKeyFile: ${cacheKeyFile} holds no key`, { hint })
  }
  return { cacheSecret: Buffer.from(key, 'base64url') }
}
