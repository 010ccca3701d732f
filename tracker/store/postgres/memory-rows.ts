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

/** Run it inside a transaction. Rows go in the order of their keys: two trackers that save do not wait for each other in a circle. */
export async function putMemoryRows(sql: Query, tracker: string, change: MemoryChange): Promise<void> {
  const byKey = <T>(items: readonly T[], key: (item: T) => string) =>
    items.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
  // The node may have moved to another tracker, which knows better.
  for (const { cluster, node } of byKey(change.gone, (it) => `${it.cluster} ${it.node}`))
    await sql`UPDATE presences SET holds = ''
      WHERE cluster = ${cluster} AND node = ${node} AND tracker = ${tracker}`
  const presences = byKey(change.presences, (it) => `${it.cluster} ${it.node}`)
  for (const some of inParts(presences)) {
    const rows = some.map(({ cluster, node, address, port, wire, zone, holds }) => ({
      ...{ cluster, node, address, port, wire, zone },
      holds: packHolds(holds),
      tracker,
    }))
    await sql`INSERT INTO presences ${sql.rows(rows)}
      ON CONFLICT (cluster, node) DO UPDATE SET address = excluded.address, port = excluded.port,
        holds = excluded.holds, wire = excluded.wire, zone = excluded.zone, tracker = excluded.tracker`
  }
  for (const some of inParts(byKey(change.acceptances, ({ id }) => id))) {
    const rows = some.map(({ id, digest, untilMs }) => ({ id, digest, until_ms: untilMs }))
    await sql`INSERT INTO acceptances ${sql.rows(rows)}
      ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, until_ms = excluded.until_ms`
  }
  for (const some of inParts(byKey(change.memberships, ({ id }) => id))) {
    const rows = some.map(({ id, bytes, untilMs }) => ({ id, bytes, until_ms: untilMs }))
    await sql`INSERT INTO memberships ${sql.rows(rows)}
      ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, until_ms = excluded.until_ms`
  }
}

function inParts<T>(items: readonly T[]): T[][] {
  const parts = Math.ceil(items.length / ROWS_MAX)
  return Array.from({ length: parts }, (_, part) => items.slice(part * ROWS_MAX, (part + 1) * ROWS_MAX))
}
