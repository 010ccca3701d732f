/** Whether a measured situation keeps what Shoal promises: pure. */

/** One line of the report: medians over the pairs. */
export interface FieldRun {
  case: string
  variant: string
  directSeconds: number
  shoalSeconds: number
  directOk: boolean
  shoalOk: boolean
  /** Layers' bytes that left the registry for the hosts with Shoal, in images. */
  registryCopies: number
  /** Two hosts had little more than one copy between them. */
  shared: boolean
  /** The first codes in the logs of nodes and tracker, or the client's last words; '' where there is nothing to say. */
  reason: string
}

/** What a line is held to. */
export interface Bar {
  /** What may be added to the direct pull, and its factor. */
  slackSeconds: number
  factor: number
  /** What may leave the registry where two hosts can share, in images; undefined: not held to it. */
  copiesMax: number | undefined
}

export type Problem = 'failed' | 'slow' | 'not shared'

/** Where nothing can be shared: half a second per image. */
export const SLACK_SECONDS = 0.5
/** Two hosts share when no more leaves the registry. */
export const COPIES_MAX = 1.1

/** @returns undefined when the promises are kept */
export function problemOf(run: FieldRun, bar: Bar): Problem | undefined {
  if (!run.directOk) return undefined
  if (!run.shoalOk) return 'failed'
  if (bar.copiesMax !== undefined && run.registryCopies > bar.copiesMax) return 'not shared'
  const isLate = run.shoalSeconds > run.directSeconds * bar.factor + bar.slackSeconds
  // Where two hosts share, time is what the fleet benchmark is for.
  return isLate && bar.copiesMax === undefined ? 'slow' : undefined
}
