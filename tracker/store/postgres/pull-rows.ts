import type { AuditEntry } from '../audit.ts'
import { pullOf } from '../records.ts'
import type { NodeSwarm, PullRecord } from '../store.ts'
import type { Query } from './sql.ts'

/** With its entry in the audit log, in one statement. */
export async function insertPullRows(sql: Query, pull: PullRecord, audit: AuditEntry): Promise<void> {
  const { cluster, node, grantedAtMs } = pull
  const blobs = JSON.stringify(pull.blobs.map(({ swarm, digest }) => ({ swarm, digest })))
  await sql`WITH granted AS (
      INSERT INTO pulls VALUES (${pull.pull}, ${cluster}, ${node}, ${pull.registry}, ${pull.repository},
        ${pull.subject}, ${pull.tokenHash}, ${pull.spki}, ${grantedAtMs}, ${pull.expiresAtMs}, ${pull.tokenKey})
    ), named AS (
      INSERT INTO pull_blobs (pull, swarm, digest, cluster, node, granted_at_ms)
      SELECT ${pull.pull}::text, swarm, digest, ${cluster}::text, ${node}::text, ${grantedAtMs}::bigint
        FROM jsonb_to_recordset(${blobs}::jsonb) AS blob (swarm text, digest text)
    )
    INSERT INTO audit (at_ms, actor, action, cluster, target)
    VALUES (${audit.atMs}, ${audit.actor}, ${audit.action}, ${audit.cluster}, ${audit.target})`
}

export async function loadPullRows(sql: Query, id: string): Promise<PullRecord | undefined> {
  const [row] = await sql`SELECT *,
      (SELECT jsonb_agg(to_jsonb(pull_blobs)) FROM pull_blobs WHERE pull = pulls.id) AS blobs
    FROM pulls WHERE id = ${id}`
  return row === undefined ? undefined : pullOf(row, row.blobs ?? [])
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
