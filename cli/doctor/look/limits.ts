import { readdirSync } from 'node:fs'
import { readIfThere } from '../../../core/read-if-there.ts'
import type { About } from '../about.ts'
import type { LimitsFacts } from '../judge/limits.ts'

export function lookAtLimits({ facts: { pid, status } }: About): LimitsFacts {
  if (pid === undefined) return { isNodeRunning: status !== undefined }
  const text = readIfThere(`/proc/${pid}/limits`) ?? ''
  const soft = /^Max open files +(\d+|unlimited)/m.exec(text)?.[1]
  const filesMax = soft === 'unlimited' ? Number.POSITIVE_INFINITY : soft && Number(soft)
  return { isNodeRunning: true, filesMax: filesMax || undefined, filesOpen: openFiles(pid) }
}

function openFiles(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return undefined
  }
}
