/**
 * How long a client waited for chunks: a histogram whose size does not depend on what it holds. A bucket's bound is √2 times
 * that of the bucket before, so a percentile is right to a fifth.
 */
export interface Waits {
  chunks: number
  /** All waits together. */
  ms: number
  /** Counts, without the empty ones at the end. */
  buckets: number[]
}

/** Buckets of one histogram: up to 46 s; the last takes what is longer. */
export const WAIT_BUCKETS_MAX = 36
/** The first bucket's upper bound. */
const FIRST_BOUND_MS = 0.25
const BUCKETS_PER_DOUBLING = 2

export function noWaits(): Waits {
  return { chunks: 0, ms: 0, buckets: [] }
}

export function addWait(waits: Waits, ms: number): void {
  const at = Math.ceil(Math.log2(Math.max(ms, FIRST_BOUND_MS) / FIRST_BOUND_MS) * BUCKETS_PER_DOUBLING)
  addAt(waits.buckets, Math.min(at, WAIT_BUCKETS_MAX - 1), 1)
  waits.chunks += 1
  waits.ms += ms
}

export function addWaits(sum: Waits, more: Waits): void {
  for (const [at, count] of more.buckets.entries()) addAt(sum.buckets, at, count)
  sum.chunks += more.chunks
  sum.ms += more.ms
}

/** @returns the wait that `part` (0 to 1) of all chunks did not exceed, about; undefined without chunks */
export function waitAt(waits: Waits, part: number): number | undefined {
  let left = Math.ceil(part * waits.chunks)
  const at = waits.buckets.findIndex((count) => {
    left -= count
    return left <= 0
  })
  if (waits.chunks === 0 || at < 0) return undefined
  // The middle of the bucket, on its logarithmic scale.
  return FIRST_BOUND_MS * 2 ** ((at - 0.5) / BUCKETS_PER_DOUBLING)
}

function addAt(buckets: number[], at: number, count: number): void {
  while (buckets.length <= at) buckets.push(0)
  buckets[at]! += count
}
