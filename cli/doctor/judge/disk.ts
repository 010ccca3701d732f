import { byteSize } from '../../../core/byte-size.ts'
import { type Finding, found, info, ok, unknown } from '../finding.ts'

export interface DiskFacts {
  dataDir: string
  isNodeRunning: boolean
  /** What keeps the node from writing there, by the system's code; `denied`: only root may look. */
  problem?: { code: string; isDenied: boolean } | undefined
  /** Undefined where nobody could look. */
  room: Room | undefined
}

interface Room {
  freeBytes: number
  reserveBytes: number
  cacheBytesMax: number
  freeInodes: number
  inodes: number
}

/** Share of inodes that should be free, of a file system that has a fixed number. */
const INODES_FREE_SHARE = 0.01
const PROBLEMS: Record<string, string> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'it is not a folder',
  EROFS: 'its disk is mounted read-only',
  EACCES: 'the user of the node may not write there',
}

export function judgeDisk({ dataDir, isNodeRunning, problem, room }: DiskFacts): Finding[] {
  const subject = dataDir
  // The node makes it at its first start.
  if (problem?.code === 'ENOENT' && !isNodeRunning) return [info(`${dataDir} does not exist yet`)]
  const findings: Finding[] = []
  if (problem?.isDenied)
    findings.push(unknown(`the data folder ${dataDir}`, 'only root and the user of the node may look'))
  else if (problem !== undefined)
    findings.push(found('DATA_FOLDER_UNUSABLE', { subject, detail: PROBLEMS[problem.code] ?? problem.code }))
  if (room === undefined) return findings
  const { freeBytes, reserveBytes, cacheBytesMax, freeInodes, inodes } = room
  if (freeBytes < reserveBytes) {
    const detail = `${byteSize(freeBytes)} are free on its disk, and Shoal leaves ${byteSize(reserveBytes)} free for others`
    findings.push(found('DISK_LOW', { subject, detail }))
  }
  if (inodes > 0 && freeInodes < inodes * INODES_FREE_SHARE)
    findings.push(found('INODES_LOW', { subject, detail: `${freeInodes} of ${inodes} are free` }))
  if (findings.length > 0) return findings
  const reserve = `${byteSize(reserveBytes)} stay in reserve`
  return [
    ok(
      `${byteSize(freeBytes)} free in ${dataDir}, ${reserve}; the cache takes up to ${byteSize(cacheBytesMax)}`,
    ),
  ]
}
