import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { byteSize } from './byte-size.ts'
import { ShoalError } from './errors.ts'

/** Disk space that a node leaves free beside its blobs. */
export const DISK_RESERVE_BYTES = 256 * 1024 * 1024
/** What a program writes while it starts: keys, certificates, a database. */
const START_BYTES = 4 * 1024 * 1024

/** The data folder's disk is full, or takes no data: stop the program and print the hint. */
export class DiskError extends ShoalError {
  readonly code = 'DISK'
}

const REASONS: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of this user is used up',
  EROFS: 'the disk is mounted read-only',
  EIO: 'the disk reports an error',
}
/** SQLITE_FULL and SQLITE_IOERR (result codes of SQLite). */
const SQLITE_REASONS: Record<number, string> = { 13: REASONS.ENOSPC!, 10: REASONS.EIO! }

/** @returns what a failed start has to say if the data folder's disk is to blame; otherwise the error as it is */
export function explainDisk(error: unknown, dataDir: string): unknown {
  const { code = '', errcode = 0 } = error as { code?: string; errcode?: number }
  const reason = REASONS[code] ?? (code === 'ERR_SQLITE_ERROR' ? SQLITE_REASONS[errcode & 0xff] : undefined)
  if (reason === undefined || error instanceof ShoalError) return error
  return new DiskError(`cannot write to the data folder ${dataDir}: ${reason}`, {
    cause: error,
    hint: `${freeText(dataDir)}Starting takes about ${byteSize(START_BYTES)}; a node keeps blobs only while ${byteSize(DISK_RESERVE_BYTES)} stay free beside them. Make room there, or name another folder with --data-dir.`,
  })
}

function freeText(path: string): string {
  try {
    const { bavail, bsize } = statfsSync(path)
    return `${byteSize(bavail * bsize)} are free there. `
  } catch {
    return dirname(path) === path ? '' : freeText(dirname(path))
  }
}
