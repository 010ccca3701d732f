import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import { LabPartError } from '../errors.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabProcess, LabProcesses } from '../machine/processes.ts'
import type { OddRegistry } from './manners.ts'
import type { OddImage } from './odd-image.ts'

/** The odd registries of a lab, as the lab sees them: one program on one host. */

const PROGRAM = fileURLToPath(new URL('./odd-registry-main.ts', import.meta.url))
const START_PATIENCE_MS = 30_000

export interface OddRegistryOptions {
  registries: OddRegistry[]
  images: OddImage[]
  tls: { default: KeyedCertificate; byName: Record<string, KeyedCertificate>; authorityPem: string }
  logFile: string
}

/** One answered request. */
export interface OddLogLine {
  from: string
  host: string
  method: string
  path: string
  status: number
  /** Of the layer that was asked for. */
  digest?: string
  sentBytes: number
}

export interface OddRegistries {
  readonly host: LabHost
  readonly process: LabProcess
  /** Everything that was answered so far. */
  requests(): OddLogLine[]
}

export async function startOddRegistries(
  host: LabHost,
  processes: LabProcesses,
  options: Omit<OddRegistryOptions, 'logFile'>,
): Promise<OddRegistries> {
  const dir = join(host.dir, 'odd')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const logFile = join(dir, 'requests.jsonl')
  const configFile = join(dir, 'config.json')
  writeFileSync(configFile, JSON.stringify({ ...options, logFile }), { mode: 0o600 })
  const part = processes.startPiped({
    name: 'odd-registries',
    argv: host.command([process.execPath, PROGRAM, configFile]),
  })
  const ready = once(part.child.stdout!, 'data')
  const late = delay(START_PATIENCE_MS, undefined, { ref: false })
  const isReady = await Promise.race([ready.then(() => true), part.ended.then(() => false), late])
  if (!isReady) throw part.death() ?? new LabPartError('the odd registries do not listen')
  return { host, process: part, requests: () => requestsIn(logFile) }
}

function requestsIn(logFile: string): OddLogLine[] {
  if (!existsSync(logFile)) return []
  const lines = readFileSync(logFile, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line)).filter((line) => 'method' in line)
}
