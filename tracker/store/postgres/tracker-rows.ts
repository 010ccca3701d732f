import type { TrackersNews } from '../changes.ts'
import { presenceOf } from '../records.ts'
import type { Query } from './sql.ts'

/**
 * A transaction that began earlier may become visible later: each question goes back by this, which is longer than any
 * transaction may stand.
 */
const OVERLAP_MS = 10_000
/** Presences of one answer; the rest comes with the next. */
const PRESENCES_MAX = 5_000
/** How long the rows of ended trackers and of gone nodes are kept, for those that were away. */
const KEPT_MS = 3_600_000

/** The database's clock, in whole ms since 1970. */
export const NOW_MS = '(extract(epoch FROM clock_timestamp()) * 1000)::bigint'

export async function meetTrackerRows(
  sql: Query,
  tracker: string,
  { cursor, silentMs }: { cursor: number; silentMs: number },
): Promise<TrackersNews> {
  const now = sql.text(NOW_MS)
  const [[self], others, rows] = await Promise.all([
    sql`INSERT INTO trackers VALUES (${tracker}, ${now}) ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms
      RETURNING seen_at_ms`,
    sql`SELECT id FROM trackers WHERE id <> ${tracker} AND seen_at_ms > ${now} - ${silentMs}::bigint`,
    sql`SELECT * FROM presences WHERE changed_at_ms > ${cursor - OVERLAP_MS} AND tracker <> ${tracker}
      ORDER BY changed_at_ms LIMIT ${PRESENCES_MAX}`,
  ])
  const isAll = rows.length < PRESENCES_MAX
  return {
    cursor: isAll ? self?.seen_at_ms : rows.at(-1)?.changed_at_ms + OVERLAP_MS,
    alive: others.map(({ id }) => id as string),
    presences: rows.map((row) => ({ ...presenceOf(row), tracker: row.tracker as string })),
  }
}

/** Run it inside a transaction. */
export async function deleteOldTrackerRows(sql: Query): Promise<void> {
  const before = sql.text(`${NOW_MS} - ${KEPT_MS}`)
  await sql`DELETE FROM trackers WHERE seen_at_ms < ${before}`
  await sql`DELETE FROM presences WHERE octet_length(holds) = 0 AND changed_at_ms < ${before}`
}
