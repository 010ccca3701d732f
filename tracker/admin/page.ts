/** One answer's part of a list. */
export interface PageAsked {
  limit: number
  /** The key of the last entry of the answer before. */
  cursor?: string | undefined
}

/**
 * @param entries ordered by their keys
 * @returns `next`: the cursor for the following answer; null: there is nothing more
 */
export function pageOf<Entry>(
  entries: readonly Entry[],
  { limit, cursor }: PageAsked,
  keyOf: (entry: Entry) => string,
): { entries: Entry[]; next: string | null } {
  const from = cursor === undefined ? 0 : entries.findIndex((entry) => keyOf(entry) > cursor)
  const shown = from < 0 ? [] : entries.slice(from, from + limit)
  const isMore = from >= 0 && from + limit < entries.length
  return { entries: shown, next: isMore ? keyOf(shown.at(-1)!) : null }
}
