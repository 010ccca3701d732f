import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type AdminAccess, ask } from '../../certs-tool/admin-client.ts'
import type { KeyedCertificate } from '../../core/issue-certificate.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import type { TokenKeysAnswer } from '../measure/blob-registry.ts'
import { BenchPeerError } from '../measure/errors.ts'
import { endOf, endWithin } from '../measure/line-process.ts'

/** `shoal tracker` as operators run it, with one cluster. */
export interface TrackerProcess {
  readonly pid: number
  readonly port: number
  readonly joinToken: string
  stop(): Promise<void>
}

export interface TrackerSettings {
  folder: string
  tls: KeyedCertificate
  caPem: string
  registry: RegistryHost
  /** Undefined: the tracker asks the registry about its key, and about every token. */
  tokenKeys: TokenKeysAnswer | undefined
  profileFolder: string | undefined
}

const PROGRAM = join(import.meta.dirname, '../../bin/shoal.js')
const START_PATIENCE_MS = 30_000
const POLL_MS = 100

export async function startTrackerProcess(settings: TrackerSettings): Promise<TrackerProcess> {
  const { folder, profileFolder } = settings
  const [port, adminPort] = [await freePort(), await freePort()]
  const profiling = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const argv = [...profiling, PROGRAM, 'tracker', '--config-file', writeConfig(settings, port, adminPort)]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = endOf(child)
  const stop = async () => {
    child.kill('SIGTERM')
    await endWithin(child, ended)
  }
  const access = { dataDir: join(folder, 'data') }
  try {
    return { pid: child.pid!, port, joinToken: await makeCluster(access, ended), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function writeConfig(settings: TrackerSettings, port: number, adminPort: number): string {
  const { folder, tls, caPem, registry, tokenKeys } = settings
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
    // Each load-generating node stands for hundreds.
    requestsPerSecondMax: 0,
    pullsPerMinuteMax: 0,
    requestsConcurrentMax: 0,
    unlockKeyFile: write('unlock-key', `SHOALKEY-1-${randomBytes(32).toString('base64url')}`),
    registries: [{ host: registry, caFile: write('authority.pem', caPem), ...keys }],
  }
  return write('config.json', JSON.stringify(config))
}

/** Retries until the tracker has started. @returns the join token */
async function makeCluster(access: AdminAccess, ended: Promise<string>): Promise<string> {
  const cluster = `c${randomBytes(8).toString('hex')}` as ClusterId
  const joinToken = `SHOAL-1-${cluster}-${randomBytes(32).toString('base64url')}`
  const joinTokenHash = createHash('sha256').update(joinToken).digest('hex')
  const giveUpMs = performance.now() + START_PATIENCE_MS
  for (;;) {
    try {
      await ask(access, 'clusters.create', { cluster, name: 'benchmark', joinTokenHash })
      return joinToken
    } catch (cause) {
      if (performance.now() > giveUpMs) throw new BenchPeerError('the tracker does not start', { cause })
    }
    const how = await Promise.race([ended, delay(POLL_MS, undefined)])
    if (how !== undefined) throw new BenchPeerError(`the tracker ended ${how}`)
  }
}
