/**
 * Which blobs make room for others. The least recently used goes first, but the last whole copy in the cluster of a
 * blob that somebody still wants goes last: once it is gone, the registry has to serve it again. Pure: the clock is
 * passed in.
 */

/** A blob that was neither read nor served for this time is not wanted any more: a week's releases and restarts. */
export const WANTED_MS = 7 * 24 * 3600_000
/** Share of the cache for last copies that go last: a cache full of them would keep nothing of what is new. */
export const LAST_COPIES_SHARE_MAX = 1 / 2

/** What decides about a blob. */
export interface Evictable {
  /** Its whole length. */
  bytes: number
  /** When it was last read or served; on the clock of `nowMs`. */
  usedAtMs: number
  isWhole: boolean
  /** Other nodes that have the whole blob; undefined: not known. */
  others: number | undefined
}

/** The blobs in the order in which they make room. */
export function inEvictionOrder<Blob>(
  blobs: readonly Blob[],
  { of, nowMs, bytesMax }: { of(blob: Blob): Evictable; nowMs: number; bytesMax: number },
): Blob[] {
  const newestFirst = blobs
    .map((blob) => ({ blob, ...of(blob) }))
    .sort((one, other) => other.usedAtMs - one.usedAtMs)
  let leftBytes = bytesMax * LAST_COPIES_SHARE_MAX
  const isSpared = ({ isWhole, others, usedAtMs, bytes }: Evictable) => {
    if (!isWhole || others !== 0 || nowMs - usedAtMs > WANTED_MS || bytes > leftBytes) return false
    leftBytes -= bytes
    return true
  }
  const { last = [], first = [] } = Object.groupBy(newestFirst, (blob) => (isSpared(blob) ? 'last' : 'first'))
  return [...first.reverse(), ...last.reverse()].map(({ blob }) => blob)
}
