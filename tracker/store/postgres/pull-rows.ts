import type { AuditEntry } from '../audit.ts'
import { pullOf } from '../records.ts'
import type { NodeSwarm, PullRecord } from '../store.ts'
import type { Query } from './sql.ts'

/** A pull with its entry in the audit log. */
export interface GrantedPull {
  pull: PullRecord
  audit: AuditEntry
}

/** All of them, or none, in one statement. */
export async function insertPullRows(sql: Query, granted: readonly GrantedPull[]): Promise<void> {
  const pulls = granted.map(({ pull: { spki, blobs, ...pull } }) => ({
    ...pull,
    spki: spki.toString('base64'),
  }))
  const blobs = granted.flatMap(({ pull }) =>
    pull.blobs.map(({ swarm, digest }) => ({
      ...{ swarm, digest },
      ...{ pull: pull.pull, cluster: pull.cluster, node: pull.node, grantedAtMs: pull.grantedAtMs },
    })),
  )
  const audit = granted.map((it) => it.audit)
  await sql`WITH granted AS (
      INSERT INTO pulls (id, cluster, node, registry, repository, subject, token_hash, spki, granted_at_ms, expires_at_ms,
          token_key)
      SELECT pull, cluster, node, registry, repository, subject, "tokenHash", decode(spki, 'base64'), "grantedAtMs",
          "expiresAtMs", "tokenKey"
        FROM jsonb_to_recordset(${JSON.stringify(pulls)}::jsonb) AS it
          (pull text, cluster text, node text, registry text, repository text, subject text, "tokenHash" text, spki text,
            "grantedAtMs" bigint, "expiresAtMs" bigint, "tokenKey" text)
    ), named AS (
      INSERT INTO pull_blobs (pull, swarm, digest, cluster, node, granted_at_ms)
      SELECT pull, swarm, digest, cluster, node, "grantedAtMs" FROM jsonb_to_recordset(${JSON.stringify(blobs)}::jsonb) AS it
        (pull text, swarm text, digest text, cluster text, node text, "grantedAtMs" bigint)
    )
    INSERT INTO audit (at_ms, actor, action, cluster, target)
    SELECT "atMs", actor, action, cluster, target FROM jsonb_to_recordset(${JSON.stringify(audit)}::jsonb) AS it
      ("atMs" bigint, actor text, action text, cluster text, target text)`
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
