import { RefusedError } from '../errors.ts'

/**
 * One answer of a list, and where the next one goes on. A cursor is the key of the last entry that was shown, so that what is
 * added or removed meanwhile neither repeats an entry nor hides one.
 */

/** No id, host or repository has one. */
const SEPARATOR = ' '

/**
 * @param entries one more than `limit`, if there are so many
 * @returns `next`: the cursor for the following part; null: there is nothing more
 */
export function partOf<Entry>(
  entries: readonly Entry[],
  limit: number,
  keyOf: (entry: Entry) => string[],
): { entries: Entry[]; next: string | null } {
  const shown = entries.slice(0, limit)
  return { entries: shown, next: entries.length > limit ? keyOf(shown.at(-1)!).join(SEPARATOR) : null }
}

/** The parts of a cursor; none without a cursor. @throws RefusedError INVALID_INPUT if `partOf` did not make it */
export function cursorParts(cursor: string | undefined, count: number): string[] {
  if (cursor === undefined) return []
  const parts = cursor.split(SEPARATOR)
  if (parts.length === count && parts.every((part) => /^[\x21-\x7e]+$/.test(part))) return parts
  throw notOurs()
}

/** A whole number in a cursor. @throws RefusedError INVALID_INPUT */
export function cursorNumber(part: string): number {
  if (/^\d{1,15}$/.test(part)) return Number(part)
  throw notOurs()
}

function notOurs(): RefusedError {
  return new RefusedError('INVALID_INPUT', 'cursor: not the `next` of an answer of this call')
}
