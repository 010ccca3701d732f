import { readFileSync } from 'node:fs'

const KIBIBYTE = 1024

/** Largest memory of a process so far (VmHWM of proc(5)), in bytes; 0 on a machine without /proc. */
export function peakRssBytesOf(pid: number): number {
  if (process.platform !== 'linux') return 0
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * KIBIBYTE
}
