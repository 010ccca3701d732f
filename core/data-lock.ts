import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError } from './config.ts'
import { readOwnFile, replaceFile } from './data-folder.ts'
import { readIfThere } from './read-if-there.ts'

/** Process id and start time. A power loss may leave less, and a hostile owner of the folder anything: nobody has it then. */
const OWNER = /^([1-9]\d{0,9}) (\d{1,20})$/

/**
 * Locks a data folder for this process, so that two never write the same files. The file `lock` in it names the owner by
 * process id and start time. If that process is gone (a crash), the lock is taken over.
 * @returns a function that unlocks the folder
 * @throws ConfigError if a living process has it, DataFolderError if the file is not ours
 */
export function lockDataDir(dataDir: string): () => void {
  const path = join(dataDir, 'lock')
  const own = `${process.pid} ${startTicksOf(process.pid)}`
  const owner = readOwnFile(path)
  if (owner !== undefined && owner !== own && isAlive(owner)) {
    throw new ConfigError(`dataDir: ${dataDir} is in use by process ${owner.split(' ')[0]}`, {
      hint: 'Stop that process, or name another folder with --data-dir.',
    })
  }
  replaceFile(path, own)
  return () => {
    if (readIfThere(path) === own) rmSync(path, { force: true })
  }
}

/** The process that has the folder locked now; undefined: none. @throws DataFolderError */
export function lockOwner(dataDir: string): number | undefined {
  const owner = readOwnFile(join(dataDir, 'lock'))
  return owner !== undefined && isAlive(owner) ? Number(owner.split(' ')[0]) : undefined
}

function isAlive(owner: string): boolean {
  const [, pid, startTicks] = OWNER.exec(owner) ?? []
  return pid !== undefined && startTicksOf(Number(pid)) === startTicks
}

/** Start time in clock ticks since boot (proc(5), stat field 22), which tells a reused process id apart. */
function startTicksOf(pid: number): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}
