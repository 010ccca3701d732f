import { accessSync, constants, statfsSync, statSync } from 'node:fs'
import { DISK_RESERVE_BYTES } from '../../../core/disk-space.ts'
import { defaultRoomOn } from '../../../node/cache-options.ts'
import type { About } from '../about.ts'
import type { DiskFacts } from '../judge/disk.ts'

export function lookAtDisk({ config, facts }: About): DiskFacts {
  const { dataDir } = config
  const isNodeRunning = facts.status !== undefined || facts.pid !== undefined
  return { dataDir, isNodeRunning, problem: problemOf(dataDir), room: roomOf(config) }
}

function problemOf(dataDir: string): DiskFacts['problem'] {
  try {
    if (!statSync(dataDir).isDirectory()) return { code: 'ENOTDIR', isDenied: false }
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    const { code = 'UNKNOWN' } = error as NodeJS.ErrnoException
    return { code, isDenied: code === 'EACCES' && !isOwnFolder(dataDir) }
  }
}

/** It is this user who may not, and not only somebody who looks. */
function isOwnFolder(dataDir: string): boolean {
  try {
    return statSync(dataDir).uid === process.geteuid?.()
  } catch {
    return false
  }
}

function roomOf({ dataDir, cacheBytesMax }: About['config']): DiskFacts['room'] {
  try {
    const { blocks, bavail, bsize, files, ffree } = statfsSync(dataDir)
    const usual = defaultRoomOn(blocks * bsize)
    const room = cacheBytesMax === undefined ? usual : { cacheBytesMax, diskReserveBytes: DISK_RESERVE_BYTES }
    return {
      freeBytes: bavail * bsize,
      reserveBytes: room.diskReserveBytes,
      cacheBytesMax: room.cacheBytesMax,
      freeInodes: ffree,
      inodes: files,
    }
  } catch {
    return undefined
  }
}
