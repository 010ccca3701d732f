import type { PieceIndex } from '../../core/metainfo.ts'
import type { Assembly, Source } from './source.ts'

/** Sources that a piece is asked of at the same time. */
const SOURCES_MAX = 2
/** Without a block for so long, others are asked, whatever is outstanding at those that bring nothing, and whoever stalled. */
export const IDLE_MS = 1_000
/** Sources that a piece is asked of when nothing comes: two more for each IDLE_MS. */
const SOURCES_IDLE_MAX = 6
/** A further source is asked only while less than this share of the piece is here. */
const BELOW_SHARE = 1 / 2
/** With fewer pieces coming in, this node's own link has room. */
const COMING_MIN = 3
/** Then what waits at one source for so long is asked of another as well, though it is not late. */
const WAITS_MS = 500

export interface EndGameView {
  /** Of each piece that is under way: from whom, the first that was asked first. */
  underWay: ReadonlyMap<PieceIndex, readonly Assembly[]>
  nowMs: number
  /** How long nothing has come. */
  idleMs: number
  isVerifying(piece: PieceIndex): boolean
  /** How long a piece may take before it is late. */
  lateAfterMs(assembly: Assembly): number
}

/**
 * When everything that can be had is under way: what a further source is asked for, as well as another. That is what has
 * been under way the longest, when it is late, or this node's link has room, or nothing comes at all: then more and more
 * sources are asked, since what is taken from one for another may go in a circle. Pure.
 */
export function pickDuplicate(source: Source, view: EndGameView): PieceIndex | undefined {
  const { nowMs, idleMs } = view
  const isIdle = idleMs > IDLE_MS
  if (source.isSnubbed && !isIdle) return undefined
  const oldest = oldestFor(source, view, sourcesMax(idleMs))
  if (!oldest) return undefined
  const waitedMs = nowMs - oldest.startedAtMs
  const hasRoom = oldest.receivedBytes === 0 && waitedMs > WAITS_MS && coming(view) < COMING_MIN
  const isLate = () =>
    oldest.receivedBytes < oldest.length * BELOW_SHARE && waitedMs > view.lateAfterMs(oldest)
  return isIdle || hasRoom || isLate() ? oldest.piece : undefined
}

/** The others that nothing has come from yet need not bring the piece: this one begins to. */
export function othersToLetOff(first: Assembly, assemblies: readonly Assembly[]): Assembly[] {
  return assemblies.filter(
    (other) => other !== first && other.receivedBytes === 0 && other.source.arriving?.assembly !== other,
  )
}

function sourcesMax(idleMs: number): number {
  return Math.min(SOURCES_IDLE_MAX, SOURCES_MAX + 2 * Math.floor(idleMs / IDLE_MS))
}

function oldestFor(
  source: Source,
  { underWay, isVerifying }: EndGameView,
  most: number,
): Assembly | undefined {
  let oldest: Assembly | undefined
  for (const [piece, assemblies] of underWay) {
    const [first] = assemblies
    if (!first || assemblies.length >= most || assemblies.some((other) => other.source === source)) continue
    if (!source.offered.has(piece) || isVerifying(piece)) continue
    if (!oldest || first.startedAtMs < oldest.startedAtMs) oldest = first
  }
  return oldest
}

/** Pieces of which something has come. */
function coming({ underWay }: EndGameView): number {
  let pieces = 0
  for (const assemblies of underWay.values())
    if (assemblies.some(({ receivedBytes }) => receivedBytes > 0)) pieces += 1
  return pieces
}
