import type { ClusterId, NodeId, SwarmId } from '../../../core/metainfo.ts'
import type { AuditEntry } from '../audit.ts'
import { bytes, epochChangeOf } from '../records.ts'
import {
  EPOCH_CHANGES_MAX,
  type EpochChange,
  type NodeSwarm,
  type PullExtension,
  type PullRecord,
  type Store,
  type SwarmChange,
  type SwarmIdentity,
  type SwarmRecord,
} from '../store.ts'
import { exists, recorded } from './audit-rows.ts'
import { Gathered } from './gathered.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { type GrantedPull, insertPullRows, loadPullRows, newestPullRow } from './pull-rows.ts'
import { changeSwarmRows, loadSwarmRows, type SwarmKey, swarmVersions } from './swarm-rows.ts'

/** The part of the store for pulls and swarms. */
export function swarmStore(db: PostgresDatabase) {
  const pulls = new Gathered<GrantedPull, void>(async (granted) => {
    await db.run((sql) => insertPullRows(sql, granted))
    return granted.map(() => undefined)
  })
  const versions = new Gathered((keys: SwarmKey[]) => db.run((sql) => swarmVersions(sql, keys)))
  return {
    putPull(pull: PullRecord, audit: AuditEntry): Promise<void> {
      return pulls.ask({ pull, audit })
    },

    pull(id: string): Promise<PullRecord | undefined> {
      return db.run((sql) => loadPullRows(sql, id))
    },

    async extendPull(
      id: string,
      { expiresAtMs, tokenHash }: PullExtension,
      audit: AuditEntry,
    ): Promise<void> {
      await recorded(db, audit, async (sql) => {
        await sql`UPDATE pulls SET expires_at_ms = ${expiresAtMs}, token_hash = ${tokenHash} WHERE id = ${id}`
      })
    },

    async completePullBlobs({ node, swarm, cluster }: NodeSwarm, atMs: number): Promise<void> {
      await db.run(
        (sql) => sql`UPDATE pull_blobs SET completed_at_ms = ${atMs}
          WHERE node = ${node} AND swarm = ${swarm} AND cluster = ${cluster} AND completed_at_ms IS NULL`,
      )
    },

    hasPullSince({ node, swarm, cluster }: NodeSwarm, sinceMs: number): Promise<boolean> {
      return exists(
        db,
        (sql) => sql`SELECT 1 FROM pull_blobs
          WHERE node = ${node} AND swarm = ${swarm} AND granted_at_ms >= ${sinceMs} AND cluster = ${cluster} LIMIT 1`,
      )
    },

    newestPull(blob: NodeSwarm): Promise<PullRecord | undefined> {
      return db.run((sql) => newestPullRow(sql, blob))
    },

    swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined> {
      return versions.ask({ cluster, swarm })
    },

    loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined> {
      return db.run((sql) => loadSwarmRows(sql, cluster, swarm))
    },

    async ensureSwarm({ swarm, cluster, registry, digest, bytes }: SwarmIdentity): Promise<void> {
      await db.run(
        (sql) => sql`INSERT INTO swarms (id, cluster, registry, digest, bytes)
          VALUES (${swarm}, ${cluster}, ${registry}, ${digest}, ${bytes}) ON CONFLICT DO NOTHING`,
      )
    },

    async saveSwarm(swarm: SwarmId, expectedVersion: number, change: SwarmChange): Promise<void> {
      await db.statement((sql) => changeSwarmRows(sql, swarm, expectedVersion, change))
    },

    async putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void> {
      await db.run(
        (sql) => sql`INSERT INTO pieces_sha1 VALUES (${swarm}, ${node}, ${hashes}) ON CONFLICT DO NOTHING`,
      )
    },

    async piecesSha1(swarm: SwarmId): Promise<Buffer | undefined> {
      const [row] = await db.run((sql) => sql`SELECT hashes FROM pieces_sha1 WHERE swarm = ${swarm}`)
      return row === undefined ? undefined : bytes(row.hashes)
    },

    async epochChanges(sequence: number): Promise<EpochChange[]> {
      const newest = await db.run(
        (sql) => sql`SELECT * FROM epoch_changes WHERE sequence > ${sequence}
          ORDER BY sequence DESC LIMIT ${EPOCH_CHANGES_MAX}`,
      )
      return newest.map(epochChangeOf).reverse()
    },
  } satisfies Partial<Store>
}
