import { SwarmStalledError } from '../errors.ts'

/**
 * A reader that waits gets its bytes straight from the registry when nothing of the blob has moved for this time: no byte
 * arrived, and none was hashed. Every other wait of a download ends sooner (origin-plan.ts).
 */
export const STALLED_MS = 15_000
/**
 * The same where bytes are promised: the tracker says that others fetch them, or the registry was asked for them. Longer
 * than the plan obeys "wait" (30 s), so that a thousand nodes do not ask a slow registry at the same moment.
 */
export const STALLED_PROMISED_MS = 45_000
/** How often a waiting reader looks. */
const LOOK_MS = 500

/** How long, in ms. */
export interface StallLimits {
  ms: number
  promisedMs: number
}

const STALL_LIMITS: StallLimits = { ms: STALLED_MS, promisedMs: STALLED_PROMISED_MS }

/** What a reader waits for; times are of `performance.now()`. */
export interface Stalling {
  /** When a byte of the blob last arrived or was hashed. */
  movedAtMs(): number
  /** Somebody said that bytes are coming. */
  isPromised(): boolean
  /** The registry may not be asked yet: it told this node to wait. */
  isRegistryLimited(): boolean
  /** Tests pass their own. */
  limits: StallLimits | undefined
}

/**
 * Waits for `wanted`, but no longer than the swarm may stall. Only the time in which this reader waits counts: one that does
 * not read is no stall.
 * @throws SwarmStalledError; what `wanted` throws
 */
export function unlessStalled<Value>(wanted: Promise<Value>, stalling: Stalling): Promise<Value> {
  const { limits = STALL_LIMITS } = stalling
  let sinceMs = performance.now()
  return new Promise((resolve, reject) => {
    const look = setInterval(() => {
      const nowMs = performance.now()
      if (stalling.isRegistryLimited()) sinceMs = nowMs
      const idleMs = nowMs - Math.max(sinceMs, stalling.movedAtMs())
      if (idleMs < (stalling.isPromised() ? limits.promisedMs : limits.ms)) return
      clearInterval(look)
      reject(new SwarmStalledError(`nothing of the blob has moved for ${Math.round(idleMs / 1000)} s`))
    }, LOOK_MS).unref()
    wanted.then(resolve, reject).finally(() => clearInterval(look))
  })
}
