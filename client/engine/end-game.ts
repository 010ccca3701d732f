import type { PieceIndex } from '../../core/metainfo.ts'
import { type Assembly, hasBegun, type Source } from './source.ts'

/** Sources that a piece is requested from at the same time in the end game. */
const SOURCES_MAX = 2
/**
 * Further requests within the time after which a piece is late, while blocks arrive. Without this bound, a pause of
 * 300 ms made a node request eight to twelve pieces twice, which filled its link for the next second and a half.
 */
const FURTHER_MAX = 3
/**
 * After this time without a block any source is asked: spared seeds, snubbed sources, and for pieces in flight
 * elsewhere.
 */
export const IDLE_MS = 1_000
/** Sources that a piece is requested from when nothing arrives: SOURCES_MAX more for each IDLE_MS. */
export const SOURCES_IDLE_MAX = 6
/** A late piece is requested again only while less than this share of it has arrived. */
const BELOW_SHARE = 1 / 2

export interface EndGameView {
  /** For each piece in flight its assemblies, in the order of their requests. */
  inFlight: ReadonlyMap<PieceIndex, readonly Assembly[]>
  nowMs: number
  /** Time since anything arrived, in ms. */
  idleMs: number
  isVerifying(piece: PieceIndex): boolean
  /** Time after which a piece is late, in ms; infinite while this node's link is full. */
  lateAfterMs(assembly: Assembly): number
}

/**
 * Chooses a piece that a further source is asked for, when every available piece is in flight: the one longest in
 * flight, if it is late or nothing arrives. While nothing arrives, the number of sources grows: moving a piece from
 * one source to the next could go in a circle. Pure.
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
 * Assemblies of the piece that have received nothing when another begins: they can be cancelled. Without BEP 6 they
 * are not: a block that arrives after the cancel would count as unrequested.
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
    // A half-received piece that stalls must not hide others that wait.
    if (!isIdle && first.receivedBytes >= first.length * BELOW_SHARE) continue
    if (!oldest || first.startedAtMs < oldest.startedAtMs) oldest = first
  }
  return oldest
}

/** Number of further requests for pieces that were in flight already. */
function furtherSince({ inFlight }: EndGameView, sinceMs: number): number {
  let count = 0
  for (const [, ...further] of inFlight.values())
    count += further.filter(({ startedAtMs }) => startedAtMs > sinceMs).length
  return count
}
