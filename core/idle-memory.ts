import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * V8 collects when memory is asked for. A program that has gone quiet asks for none, and so keeps what its start or its last
 * pull left: code that ran once, closed connections with their certificates. One collection in depth gives it back, 8 MiB of
 * a node that has just started. It stops the process for 50 ms, once in each quiet time.
 */

/** How often the processor time is looked at … */
const LOOK_MS = 30_000
/** … and how many looks in a row must have found less than this share of a core. */
const QUIET_LOOKS = 2
const QUIET_SHARE = 0.01

interface IdleOptions {
  lookMs?: number
  /** Processor time of this process until now, in milliseconds. */
  cpuMs?: () => number
  collect?: () => void
}

/** @returns what ends it */
export function collectWhenIdle({
  lookMs = LOOK_MS,
  cpuMs = ownCpuMs,
  collect = collectAll,
}: IdleOptions = {}): () => void {
  let lastMs = cpuMs()
  let quietLooks = 0
  const timer = setInterval(() => {
    const nowMs = cpuMs()
    quietLooks = nowMs - lastMs < lookMs * QUIET_SHARE ? quietLooks + 1 : 0
    if (quietLooks === QUIET_LOOKS) collect()
    // What the collection took is no work.
    lastMs = cpuMs()
  }, lookMs)
  timer.unref()
  return () => clearInterval(timer)
}

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** As V8 does before it gives up for lack of memory: compacts, and drops the bytecode of functions that rest. */
export function collectAll(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as (options: object) => void
  setFlagsFromString('--no-expose-gc')
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
