import type { PieceIndex } from '../../core/metainfo.ts'
import { type Assembly, hasBegun, type Source } from './source.ts'

/** Sources that a piece is asked of at the same time, in the end game. */
const SOURCES_MAX = 2
/**
 * Further sources asked in the time after which a piece is late, while something comes: a pause of 300 ms had a node ask for
 * eight or twelve pieces twice, which filled its link for the next second and a half.
 */
const FURTHER_MAX = 3
/** Without a block for so long anybody is asked: seeds that were spared, whoever stalled, and whatever is outstanding elsewhere. */
export const IDLE_MS = 1_000
/** Sources that a piece is asked of when nothing comes: SOURCES_MAX more for each IDLE_MS. */
export const SOURCES_IDLE_MAX = 6
/** What is late is asked of a further source only while less than this share of it is here. */
const BELOW_SHARE = 1 / 2

export interface EndGameView {
  /** Of each piece that is under way: from whom, the first that was asked first. */
  inFlight: ReadonlyMap<PieceIndex, readonly Assembly[]>
  nowMs: number
  /** How long nothing has come. */
  idleMs: number
  isVerifying(piece: PieceIndex): boolean
  /** How long a piece may take before it is late, in ms; endless while this node's link is full. */
  lateAfterMs(assembly: Assembly): number
}

/**
 * When everything that can be had is under way: what a further source is asked for, as well as another. That is what has
 * been under way the longest, when it is late, or nothing comes at all: then more and more sources are asked, since what
 * is taken from one for another may go in a circle. Pure.
 */
export function pickDuplicate(source: Source, view: EndGameView): PieceIndex | undefined {
  const { nowMs, idleMs } = view
  const isIdle = idleMs >= IDLE_MS
  if (source.isSnubbed && !isIdle) return undefined
  const oldest = oldestFor(source, view)
  if (!oldest) return undefined
  const { piece, startedAtMs } = oldest
  if (isIdle) return piece
  const lateMs = view.lateAfterMs(oldest)
  if (nowMs - startedAtMs <= lateMs) return undefined
  return furtherSince(view, nowMs - lateMs) < FURTHER_MAX ? piece : undefined
}

/**
 * Of one piece: those from which nothing has come yet, when another begins, need not bring it. Without BEP 6 they are not
 * stopped: what came all the same would count as what nobody asked for.
 */
export function othersToLetOff(begun: Assembly, assemblies: readonly Assembly[]): Assembly[] {
  return assemblies.filter((other) => other !== begun && other.source.limits.hasFast && !hasBegun(other))
}

function sourcesMax(idleMs: number): number {
  return Math.min(SOURCES_IDLE_MAX, SOURCES_MAX * (1 + Math.floor(idleMs / IDLE_MS)))
}

function oldestFor(source: Source, { inFlight, isVerifying, idleMs }: EndGameView): Assembly | undefined {
  const isIdle = idleMs >= IDLE_MS
  const assembliesMax = sourcesMax(idleMs)
  let oldest: Assembly | undefined
  for (const [piece, assemblies] of inFlight) {
    const [first] = assemblies
    if (!first || assemblies.length >= assembliesMax) continue
    if (assemblies.some((other) => other.source === source)) continue
    if (!source.offered.has(piece) || isVerifying(piece)) continue
    // Half of one that stalls must not keep those from being asked for that wait.
    if (!isIdle && first.receivedBytes >= first.length * BELOW_SHARE) continue
    if (!oldest || first.startedAtMs < oldest.startedAtMs) oldest = first
  }
  return oldest
}

/** How many sources were asked for what another was asked for before. */
function furtherSince({ inFlight }: EndGameView, sinceMs: number): number {
  let count = 0
  for (const [, ...further] of inFlight.values())
    count += further.filter(({ startedAtMs }) => startedAtMs > sinceMs).length
  return count
}
