import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ask } from '../../certs-tool/admin-client.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { isAnswering } from '../../lab/machine/listening.ts'
import type { TokenKeysAnswer } from '../measure/blob-registry.ts'
import { BenchPeerError } from '../measure/errors.ts'
import { endOf, endWithin } from '../measure/line-process.ts'
import type { BenchDatabase } from './database.ts'

/** `shoal tracker` as operators run it. */
export interface TrackerProcess {
  readonly pid: number
  readonly port: number
  readonly dataDir: string
  /** Stops it, and starts it again on the same port. @returns the time from its start until it listens, in seconds */
  restart(): Promise<{ stopSeconds: number; listenSeconds: number }>
  stop(): Promise<void>
}

export interface TrackerSettings {
  folder: string
  tls: KeyedCertificate
  caPem: string
  registry: RegistryHost
  /** Undefined: the tracker asks the registry about its key, and about every token. */
  tokenKeys: TokenKeysAnswer | undefined
  /** Undefined: a SQLite file. */
  database: BenchDatabase['config'] | undefined
  unlockKey: string
  heartbeatSeconds: number
  profileFolder: string | undefined
}

const PROGRAM = join(import.meta.dirname, '../../bin/shoal.js')
const START_PATIENCE_MS = 30_000
const POLL_MS = 5

export function newUnlockKey(): string {
  return `SHOALKEY-1-${randomBytes(32).toString('base64url')}`
}

/** Resolves when it listens. */
export async function startTrackerProcess(settings: TrackerSettings): Promise<TrackerProcess> {
  const { folder, profileFolder } = settings
  const [port, adminPort] = [await freePort(), await freePort()]
  const profiling = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const argv = [...profiling, PROGRAM, 'tracker', '--config-file', writeConfig(settings, port, adminPort)]
  const start = async (): Promise<Running> => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'] })
    const running = { child, ended: endOf(child) }
    try {
      await untilItListens(port, running.ended)
      return running
    } catch (error) {
      await end(running)
      throw error
    }
  }
  let running = await start()
  return {
    get pid() {
      return running.child.pid!
    },
    port,
    dataDir: join(folder, 'data'),
    stop: () => end(running),
    async restart() {
      const stoppingMs = performance.now()
      await end(running)
      const startingMs = performance.now()
      running = await start()
      const listenSeconds = (performance.now() - startingMs) / 1000
      return { stopSeconds: (startingMs - stoppingMs) / 1000, listenSeconds }
    },
  }
}

interface Running {
  child: ChildProcess
  ended: Promise<string>
}

async function end({ child, ended }: Running): Promise<void> {
  child.kill('SIGTERM')
  await endWithin(child, ended)
}

function writeConfig(settings: TrackerSettings, port: number, adminPort: number): string {
  const { folder, tls, caPem, registry, tokenKeys, database, unlockKey, heartbeatSeconds } = settings
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const keys =
    tokenKeys === undefined
      ? {}
      : {
          tokenKeysFile: write('keys.json', tokenKeys.jwks),
          issuer: tokenKeys.issuer,
          audience: tokenKeys.audience,
        }
  const config = {
    listen: `127.0.0.1:${port}`,
    adminListen: `127.0.0.1:${adminPort}`,
    tlsCertFile: write('tracker.crt', tls.certificatePem),
    tlsKeyFile: write('tracker.key', tls.privateKeyPem),
    dataDir: join(folder, 'data'),
    ...database,
    heartbeatSeconds,
    // Each load-generating node stands for hundreds.
    requestsPerSecondMax: 0,
    pullsPerMinuteMax: 0,
    requestsConcurrentMax: 0,
    joinsPerHourMax: 0,
    unlockKeyFile: write('unlock-key', unlockKey),
    registries: [{ host: registry, caFile: write('authority.pem', caPem), ...keys }],
  }
  return write('config.json', JSON.stringify(config))
}

async function untilItListens(port: number, ended: Promise<string>): Promise<void> {
  const giveUpMs = performance.now() + START_PATIENCE_MS
  for (;;) {
    if (await isAnswering('127.0.0.1', port)) return
    if (performance.now() > giveUpMs) throw new BenchPeerError('the tracker does not start')
    const how = await Promise.race([ended, delay(POLL_MS, undefined)])
    if (how !== undefined) throw new BenchPeerError(`the tracker ended ${how}`)
  }
}

/** Makes a cluster, once the tracker takes commands. @returns its join token */
export async function joinTokenOf({ dataDir }: TrackerProcess): Promise<string> {
  const cluster = `c${randomBytes(8).toString('hex')}` as ClusterId
  const joinToken = `SHOAL-1-${cluster}-${randomBytes(32).toString('base64url')}`
  const joinTokenHash = createHash('sha256').update(joinToken).digest('hex')
  const giveUpMs = performance.now() + START_PATIENCE_MS
  for (;;) {
    try {
      await ask({ dataDir }, 'clusters.create', { cluster, name: 'benchmark', joinTokenHash })
      return joinToken
    } catch (cause) {
      if (performance.now() > giveUpMs) throw new BenchPeerError('the tracker makes no cluster', { cause })
      await delay(POLL_MS)
    }
  }
}
