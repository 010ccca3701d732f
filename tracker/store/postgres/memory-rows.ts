import type { MemoryBounds, MemoryChange, MemoryRecord } from '../memory.ts'
import { acceptanceOf, membershipOf, packHolds, presenceOf } from '../records.ts'
import type { Query } from './sql.ts'

/** Rows of one statement: a statement takes at most 65,534 parameters. */
const ROWS_MAX = 5_000

export async function memoryRows(sql: Query, nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord> {
  // Of more than memory takes, those that last longest.
  const [presences, acceptances, memberships] = await Promise.all([
    sql`SELECT * FROM presences WHERE octet_length(holds) > 0 LIMIT ${bounds.presencesMax}`,
    sql`SELECT * FROM acceptances WHERE until_ms > ${nowMs} ORDER BY until_ms DESC LIMIT ${bounds.acceptancesMax}`,
    sql`SELECT * FROM memberships WHERE until_ms > ${nowMs} ORDER BY until_ms DESC LIMIT ${bounds.membershipsMax}`,
  ])
  return {
    presences: presences.map(presenceOf),
    acceptances: acceptances.map(acceptanceOf).reverse(),
    memberships: memberships.map(membershipOf).reverse(),
  }
}

/**
 * Statements that save the change; more than one belong into one transaction. Rows go in the order of their keys: two
 * trackers that save do not wait for each other in a circle.
 */
export function memoryStatements(
  tracker: string,
  change: MemoryChange,
): ((sql: Query) => Promise<unknown>)[] {
  const byKey = <T>(items: readonly T[], key: (item: T) => string) =>
    items.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
  const goneParts = inParts(byKey(change.gone, (it) => `${it.cluster} ${it.node}`))
  const presenceParts = inParts(byKey(change.presences, (it) => `${it.cluster} ${it.node}`))
  return [
    ...goneParts.map((some) => (sql: Query) => forgetPresences(sql, tracker, some)),
    ...presenceParts.map((some) => (sql: Query) => {
      const rows = some.map(({ cluster, node, address, port, wire, zone, rack, holds }) => ({
        ...{ cluster, node, address, port, wire, zone, rack },
        holds: packHolds(holds),
        tracker,
      }))
      return sql`INSERT INTO presences ${sql.rows(rows)}
        ON CONFLICT (cluster, node) DO UPDATE SET address = excluded.address, port = excluded.port,
          holds = excluded.holds, wire = excluded.wire, zone = excluded.zone, rack = excluded.rack,
          tracker = excluded.tracker`
    }),
    ...inParts(byKey(change.acceptances, ({ id }) => id)).map((some) => (sql: Query) => {
      const rows = some.map(({ id, digest, untilMs, mark }) => ({ id, digest, until_ms: untilMs, mark }))
      return sql`INSERT INTO acceptances ${sql.rows(rows)}
        ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, until_ms = excluded.until_ms,
          mark = excluded.mark`
    }),
    ...inParts(byKey(change.memberships, ({ id }) => id)).map((some) => (sql: Query) => {
      const rows = some.map(({ id, bytes, untilMs, mark }) => ({ id, bytes, until_ms: untilMs, mark }))
      return sql`INSERT INTO memberships ${sql.rows(rows)}
        ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, until_ms = excluded.until_ms, mark = excluded.mark`
    }),
  ]
}

/** A node may have moved to another tracker, which knows better. */
function forgetPresences(sql: Query, tracker: string, gone: MemoryChange['gone']): Promise<unknown> {
  return sql`WITH gone AS (
      SELECT cluster, node FROM presences
        JOIN jsonb_to_recordset(${JSON.stringify(gone)}::jsonb) AS it (cluster text, node text) USING (cluster, node)
        WHERE tracker = ${tracker} ORDER BY cluster COLLATE "C", node COLLATE "C" FOR UPDATE OF presences
    )
    UPDATE presences SET holds = '' FROM gone
      WHERE presences.cluster = gone.cluster AND presences.node = gone.node`
}

function inParts<T>(items: readonly T[]): T[][] {
  const parts = Math.ceil(items.length / ROWS_MAX)
  return Array.from({ length: parts }, (_, part) => items.slice(part * ROWS_MAX, (part + 1) * ROWS_MAX))
}
