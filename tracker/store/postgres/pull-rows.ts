import { pullOf } from '../records.ts'
import type { NodeSwarm, PullRecord } from '../store.ts'
import type { Query } from './sql.ts'

/** Run it inside a transaction. */
export async function insertPullRows(sql: Query, pull: PullRecord): Promise<void> {
  const { cluster, node, grantedAtMs } = pull
  const blobs = pull.blobs.map(({ swarm, digest }) => ({
    ...{ pull: pull.pull, swarm, digest, cluster, node },
    granted_at_ms: grantedAtMs,
  }))
  await Promise.all([
    sql`INSERT INTO pulls VALUES (${pull.pull}, ${cluster}, ${node}, ${pull.registry}, ${pull.repository},
      ${pull.subject}, ${pull.tokenHash}, ${pull.spki}, ${grantedAtMs}, ${pull.expiresAtMs}, ${pull.tokenKey})`,
    blobs.length > 0 ? sql`INSERT INTO pull_blobs ${sql.rows(blobs)}` : undefined,
  ])
}

export async function loadPullRows(sql: Query, id: string): Promise<PullRecord | undefined> {
  const [[row], blobs] = await Promise.all([
    sql`SELECT * FROM pulls WHERE id = ${id}`,
    sql`SELECT * FROM pull_blobs WHERE pull = ${id}`,
  ])
  return row === undefined ? undefined : pullOf(row, blobs)
}

export async function newestPullRow(
  sql: Query,
  { node, swarm, cluster }: NodeSwarm,
): Promise<PullRecord | undefined> {
  const [row] =
    await sql`SELECT pull FROM pull_blobs WHERE node = ${node} AND swarm = ${swarm} AND cluster = ${cluster}
    ORDER BY granted_at_ms DESC LIMIT 1`
  return row === undefined ? undefined : await loadPullRows(sql, row.pull)
}

/** Deletes pulls granted before `pulls`, and ended pulls of each node beyond its newest `pullsPerNodeMax`. */
export async function deletePullRows(
  sql: Query,
  { pulls, now, pullsPerNodeMax }: { pulls: number; now: number; pullsPerNodeMax: number },
): Promise<void> {
  await sql`DELETE FROM pulls WHERE id IN (
    SELECT id FROM (SELECT id, granted_at_ms, expires_at_ms,
        row_number() OVER (PARTITION BY cluster, node ORDER BY granted_at_ms DESC) AS place FROM pulls) AS placed
    WHERE granted_at_ms < ${pulls} OR (place > ${pullsPerNodeMax} AND expires_at_ms < ${now}))`
}
