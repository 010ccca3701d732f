import type { TrackersNews } from '../changes.ts'
import { presenceOf } from '../records.ts'
import type { Query } from './sql.ts'

/** Presences of one answer: more than one tracker restores at its start. */
const PRESENCES_MAX = 50_000
/** Least time between two writes by which a tracker shows that it is alive: a write waits for the disk. */
const SEEN_AGAIN_MS = 1_000
/** How long the rows of ended trackers and of gone nodes are kept, for those that were away. */
const KEPT_MS = 3_600_000

/** The database's clock, in whole ms since 1970. */
export const NOW_MS = '(extract(epoch FROM clock_timestamp()) * 1000)::bigint'

/**
 * In one statement. The cursor is a transaction id: below it all transactions have ended, so that nothing older can appear
 * later.
 * @param options.silentMs a tracker that was silent for longer is not alive
 */
export async function meetTrackerRows(
  sql: Query,
  tracker: string,
  { cursor, silentMs }: { cursor: number; silentMs: number },
): Promise<TrackersNews> {
  const now = sql.text(NOW_MS)
  const rows = await sql`WITH seen AS (
      INSERT INTO trackers SELECT ${tracker}, ${now}
        WHERE NOT EXISTS (SELECT 1 FROM trackers WHERE id = ${tracker} AND seen_at_ms > ${now} - ${SEEN_AGAIN_MS}::bigint)
      ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms
    ), moment AS (
      SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS next,
        (SELECT coalesce(jsonb_agg(id), '[]') FROM trackers
          WHERE id <> ${tracker} AND seen_at_ms > ${now} - ${silentMs}::bigint) AS alive
    )
    SELECT presences.*, next, alive FROM moment
      LEFT JOIN presences ON changed_xid >= ${cursor} AND tracker <> ${tracker} LIMIT ${PRESENCES_MAX}`
  return {
    cursor: rows[0]?.next,
    alive: rows[0]?.alive,
    presences: rows
      .filter(({ node }) => node !== null)
      .map((row) => ({ ...presenceOf(row), tracker: row.tracker as string })),
  }
}

/** Run it inside a transaction. */
export async function deleteOldTrackerRows(sql: Query): Promise<void> {
  const before = sql.text(`${NOW_MS} - ${KEPT_MS}`)
  await sql`DELETE FROM trackers WHERE seen_at_ms < ${before}`
  await sql`DELETE FROM presences WHERE octet_length(holds) = 0 AND changed_at_ms < ${before}`
}
