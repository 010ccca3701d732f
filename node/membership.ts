import { existsSync, readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import {
  hasJoined,
  JoinFailedError,
  type JoinOutcome,
  joinCluster,
  type LeaveOutcome,
  leaveCluster,
} from '../client/index.ts'
import { Conditions } from '../core/conditions.ts'
import { ConfigError, ensureDataDir } from '../core/config.ts'
import { serveOwnerOf } from '../core/data-folder.ts'
import { lockDataDir, lockOwner } from '../core/data-lock.ts'
import { upstreamProxyOf } from '../core/upstream-proxy-config.ts'
import type { NodeConfig } from './config.ts'

/** `shoal join` and `shoal leave`, on the settings and the data folder of the node. */

/** How long a running node may take to end when this machine leaves its cluster. */
const END_PATIENCE_MS = 20_000
/** How often the command looks whether the node has ended. */
const END_LOOK_MS = 20

interface Surroundings {
  log: Logger
  env: Readonly<Record<string, string | undefined>>
}

/**
 * A node that runs takes the result up within seconds; only without one is the folder locked.
 * @throws JoinStringError, JoinFailedError, DataFolderError, ConfigError
 */
export async function joinFromHere(
  joinString: string,
  config: Readonly<NodeConfig>,
  { log, env }: Surroundings,
): Promise<JoinOutcome & { isRunning: boolean }> {
  const { dataDir } = config
  serveOwnerOf(dataDir)
  ensureDataDir(dataDir)
  const isRunning = lockOwner(dataDir) !== undefined
  const unlock = isRunning ? () => undefined : lockDataDir(dataDir)
  try {
    const upstreamProxy = upstreamProxyOf(config, env, new Conditions({ log }))
    return { ...(await joinCluster({ joinString, dataDir, upstreamProxy, log })), isRunning }
  } finally {
    unlock()
  }
}

/**
 * Ends a node that runs here: it holds the identity and the blobs that go. Its service manager may start it again; it then
 * waits to join.
 * @returns undefined: this machine is in no cluster
 * @throws JoinFailedError NODE_RUNNING, DataFolderError, ConfigError
 */
export async function leaveFromHere(
  config: Readonly<NodeConfig>,
  { log, env }: Surroundings,
): Promise<(LeaveOutcome & { wasRunning: boolean }) | undefined> {
  const { dataDir, trackerUrl, trackerCaFile } = config
  if (!existsSync(dataDir)) return undefined
  serveOwnerOf(dataDir)
  ensureDataDir(dataDir)
  if (!hasJoined(dataDir)) return undefined
  const wasRunning = endNode(dataDir)
  const unlock = await lockOnceFree(dataDir)
  try {
    const upstreamProxy = upstreamProxyOf(config, env, new Conditions({ log }))
    const trackerCaPem = trackerCaFile === undefined ? undefined : readFileSync(trackerCaFile, 'utf8')
    return { ...(await leaveCluster({ dataDir, trackerUrl, trackerCaPem, upstreamProxy, log })), wasRunning }
  } finally {
    unlock()
  }
}

/** @returns whether one ran */
function endNode(dataDir: string): boolean {
  const pid = lockOwner(dataDir)
  if (pid === undefined) return false
  // The folder's owner may have named any process: root ends none but that user's.
  if (ownerOf(`/proc/${pid}`) !== ownerOf(dataDir)) throw running(pid, undefined)
  try {
    process.kill(pid, 'SIGTERM')
    return true
  } catch (cause) {
    throw running(pid, cause)
  }
}

const ownerOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.uid

async function lockOnceFree(dataDir: string): Promise<() => void> {
  for (const untilMs = Date.now() + END_PATIENCE_MS; ; await sleep(END_LOOK_MS)) {
    try {
      return lockDataDir(dataDir)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      if (Date.now() > untilMs) throw running(lockOwner(dataDir) ?? 0, error)
    }
  }
}

function running(pid: number, cause: unknown): JoinFailedError {
  return new JoinFailedError('NODE_RUNNING', `the node is running as process ${pid} and could not be ended`, {
    cause,
    hint: 'Run this as root, or stop the node first.',
  })
}
