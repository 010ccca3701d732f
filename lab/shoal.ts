import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BlobProgress } from '../client/index.ts'
import { AdminRelay } from './admin-relay.ts'
import { LabPartError } from './errors.ts'
import { progressAt } from './local-api.ts'
import { waitUntilListening } from './machine/listening.ts'
import type { LabHost } from './machine/network.ts'
import { peakRssBytesOf } from './machine/peak-memory.ts'
import { type LabProcess, type LabProcesses, waitForPart } from './machine/processes.ts'
import { type LabRegistry, REGISTRY_HOST } from './registry/registry.ts'

/** Shoal's own programs as parts of a lab, started and configured through the command line, as an operator would. */

const PROGRAM = fileURLToPath(new URL('../bin/shoal.js', import.meta.url))
export const TRACKER_HOST = 'tracker.shoal.test'
const TRACKER_PORT = 7443
const TRACKER_ADMIN_PORT = 7444
const NODE_PROXY_PORT = 7070
const NODE_ADMIN_PORT = 7072
/** The mirror's socket of a guard. */
const GUARD_MIRROR = '127.0.0.1:577'
export const NODE_PROXY_URL = `http://127.0.0.1:${NODE_PROXY_PORT}`
const COMMAND_PATIENCE_MS = 30_000

/** Configuration keys for which a lab overrides the default. */
export type ConfigOverrides = Record<string, unknown>

interface ShoalOptions {
  host: LabHost
  processes: LabProcesses
  /** The registry's configuration, for both programs. */
  registryConfig: ConfigOverrides
  overrides: ConfigOverrides
  /** How far its clock is ahead of this machine's; behind, if negative. */
  clockOffsetSeconds?: number
  /** A guard owns the proxy's socket and starts the node. */
  isGuarded?: boolean
  /** Of the program's environment, which is empty otherwise. */
  env?: Record<string, string>
}

/** A program that can be killed and started again with the same configuration and data. */
export interface ShoalService {
  readonly name: string
  readonly process: LabProcess
  /** Resolves when it answers. */
  start(): Promise<void>
}

export interface LabTracker extends ShoalService {
  readonly host: LabHost
  /** The data that a node needs to join. */
  readonly join: { trackerUrl: string; trackerCaFile: string; joinTokenFile: string }
  /** Makes another cluster. @returns the file with its join token */
  addCluster(name: string): Promise<string>
}

export interface LabShoalNode extends ShoalService {
  /** The control socket of its guard, where it has one. */
  readonly guardControl: string
  /** Codes of its conditions now. */
  conditions(): Promise<string[]>
  /** Since the process started. */
  progress(): Promise<BlobProgress[]>
  /** Largest memory of the process so far (VmHWM of proc(5)), in bytes. */
  peakRssBytes(): number
}

/** Starts a tracker, with certificates, unlock key and one cluster made by `shoal certs` and `shoal admin`. */
export async function startTracker(options: ShoalOptions): Promise<LabTracker> {
  const dir = join(options.host.dir, 'tracker')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  await shoal(options, 'certs', 'authority', '--out-dir', dir)
  await shoal(
    options,
    'certs',
    'tracker-tls',
    '--name',
    TRACKER_HOST,
    '--authority-dir',
    dir,
    '--out-dir',
    dir,
  )
  await shoal(options, 'certs', 'unlock-key', '--out', join(dir, 'unlock.key'))
  const configFile = writeConfig(dir, {
    listen: `0.0.0.0:${TRACKER_PORT}`,
    adminListen: `127.0.0.1:${TRACKER_ADMIN_PORT}`,
    tlsCertFile: join(dir, 'tracker.crt'),
    tlsKeyFile: join(dir, 'tracker.key'),
    unlockKeyFile: join(dir, 'unlock.key'),
    dataDir: join(dir, 'data'),
    registries: [options.registryConfig],
    ...options.overrides,
  })
  const service = makeService(options, 'tracker', ['tracker'], configFile, (part) =>
    waitUntilListening({ ...options, part, ports: [TRACKER_PORT, TRACKER_ADMIN_PORT] }),
  )
  await service.start()
  const addCluster = async (name: string) => {
    const joinTokenFile = join(dir, `join-token-${name}`)
    const places = ['--data-dir', join(dir, 'data'), '--out', joinTokenFile]
    await shoal(options, 'admin', 'cluster', 'create', name, ...places)
    return joinTokenFile
  }
  const joinTokenFile = await addCluster('lab')
  const trackerUrl = `https://${TRACKER_HOST}:${TRACKER_PORT}`
  const trackerCaFile = join(dir, 'authority.crt')
  const facts = { host: options.host, join: { trackerUrl, trackerCaFile, joinTokenFile }, addCluster }
  return Object.assign(service, facts)
}

export async function startShoalNode(
  options: ShoalOptions & { tracker: Pick<LabTracker, 'join'> },
): Promise<LabShoalNode> {
  const { host, processes } = options
  const dir = join(host.dir, 'shoal')
  const localSocket = join(dir, 'shoal.sock')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const configFile = writeConfig(dir, {
    ...options.tracker.join,
    dataDir: join(dir, 'data'),
    localSocket,
    proxyListen: `127.0.0.1:${NODE_PROXY_PORT}`,
    adminListen: `127.0.0.1:${NODE_ADMIN_PORT}`,
    dockerCertsDir: join(host.etcDocker, 'certs.d'),
    registries: [options.registryConfig],
    ...options.overrides,
  })
  const relay = new AdminRelay(host, processes, NODE_ADMIN_PORT)
  const isHealthy = async () => JSON.parse(await relay.ask('/healthz')).status !== undefined || undefined
  const guardControl = join(dir, 'guard.sock')
  const sockets = ['--proxy-listen', `127.0.0.1:${NODE_PROXY_PORT}`, '--mirror-listen', GUARD_MIRROR]
  const guard = ['guard', 'run', ...sockets, '--control', guardControl]
  const program = options.isGuarded ? [...guard, '--'] : ['node']
  const service = makeService(options, host.name, program, configFile, async (part) => {
    await waitForPart(part, isHealthy)
  })
  await service.start()
  return Object.assign(service, {
    guardControl,
    conditions: async () => (JSON.parse(await relay.ask('/healthz')) as { codes: string[] }).codes,
    progress: () => progressAt(localSocket),
    peakRssBytes: () => peakRssBytesOf(service.process.pid),
  })
}

/** Shoal's configuration of the lab's registry. It finds the token server's keys itself. */
export function labRegistryConfig(registryCaFile: string, kind: LabRegistry['kind']): ConfigOverrides {
  return { host: REGISTRY_HOST, kind, caFile: registryCaFile }
}

function makeService(
  { host, processes, clockOffsetSeconds = 0, env = {} }: ShoalOptions,
  name: string,
  program: string[],
  configFile: string,
  whenReady: (process: LabProcess) => Promise<void>,
): ShoalService {
  const command = [process.execPath, PROGRAM, ...program, '--config-file', configFile]
  const argv = host.command([...withClock(clockOffsetSeconds), ...command])
  let running: LabProcess | undefined
  return {
    name,
    get process() {
      if (running === undefined) throw new LabPartError(`${name} was never started`)
      return running
    },
    async start() {
      running = processes.start({ name: `${name}-shoal`, argv, env })
      await whenReady(running)
    },
  }
}

/**
 * Prefix of a command that sees another time of day (libfaketime(1)); the speed of time stays. The dynamic linker
 * expands $LIB.
 */
function withClock(offsetSeconds: number): string[] {
  if (offsetSeconds === 0) return []
  const offset = `${offsetSeconds > 0 ? '+' : ''}${offsetSeconds}s`
  const preload = 'LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1'
  return ['env', preload, `FAKETIME=${offset}`, 'FAKETIME_DONT_FAKE_MONOTONIC=1']
}

async function shoal({ host, processes }: ShoalOptions, ...argv: string[]): Promise<void> {
  const command = host.command([process.execPath, PROGRAM, ...argv])
  await processes.run({ argv: command, timeoutMs: COMMAND_PATIENCE_MS })
}

function writeConfig(dir: string, config: ConfigOverrides): string {
  const path = join(dir, 'config.json')
  writeFileSync(path, JSON.stringify(config, null, 2), { mode: 0o600 })
  return path
}
