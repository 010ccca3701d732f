import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { serveOwnerOf } from '../../core/data-folder.ts'
import { lockOwner } from '../../core/data-lock.ts'
import { ShoalError } from '../../core/errors.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { NodeConfig } from '../../node/config.ts'
import type { LocalNode } from '../local-node.ts'
import type { NodeFacts } from './judge/node.ts'
import { type NodeStatus, statusSchema } from './node-view.ts'

/** What the links of the chain are looked at with. Whatever several of them need is asked once. */

/** Runs a program of this machine. @returns its standard output; undefined if it is not there, failed, or is late */
export type Run = (argv: string[]) => Promise<string | undefined>

export interface About {
  env: Readonly<Record<string, string | undefined>>
  /** As far as they can be used; otherwise the defaults. */
  config: Readonly<NodeConfig>
  node: LocalNode
  /** The guard's control socket. */
  guardControl: string
  /** Stands for `/`. */
  root: string
  run: Run
  /** How long a registry, the tracker or the proxy may take to answer; milliseconds. */
  patienceMs: number
  facts: NodeFacts
}

/** How long one server may take to answer, with the connection to it. */
export const SERVER_PATIENCE_MS = 7_000
/** How long the node may take to tell its status. */
const STATUS_PATIENCE_MS = 3_000
/** How long a program of this machine (docker, systemctl) may take. */
const RUN_PATIENCE_MS = 6_000
/** Bound of what such a program says, in bytes. */
const RUN_BYTES_MAX = 4 * 1024 * 1024

export async function runHere([program, ...argv]: string[]): Promise<string | undefined> {
  const limits = { timeout: RUN_PATIENCE_MS, killSignal: 'SIGKILL', maxBuffer: RUN_BYTES_MAX } as const
  const running = promisify(execFile)(program!, argv, limits).then(
    ({ stdout }) => stdout,
    () => undefined,
  )
  return (await isSettledWithin(running, RUN_PATIENCE_MS)) ? running : undefined
}

export async function lookAtNode(node: LocalNode, dataDir: string): Promise<NodeFacts> {
  const pid = pidOf(dataDir)
  try {
    const status = await node.ask('/v1/status', statusSchema, { patienceMs: STATUS_PATIENCE_MS })
    return { pid, status }
  } catch (error) {
    return { pid, failure: failureOf(error) }
  }
}

export function statusOf({ facts }: About): NodeStatus | undefined {
  return facts.status
}

export function failureOf(error: unknown): { code: string; message: string } {
  const { code = 'UNEXPECTED', message } = error as { code?: string; message: string }
  return { code: String(code), message }
}

/** This user may not look, which says nothing about what is there. */
export function isDenied(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EPERM') return true
    // Root reads on behalf of the folder's owner; anybody else sees another user's file.
    if (at instanceof ShoalError && at.code === 'DATA_FOLDER' && process.geteuid?.() !== 0) return true
  }
  return false
}

function pidOf(dataDir: string): number | undefined {
  try {
    serveOwnerOf(dataDir)
    return lockOwner(dataDir)
  } catch {
    return undefined
  }
}
