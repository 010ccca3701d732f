import { randomBytes } from 'node:crypto'
import type { ClusterId, SwarmId } from '../../../core/metainfo.ts'
import type { RegistryHost } from '../../../core/repository.ts'
import type { AuditEntry, AuditFilter } from '../audit.ts'
import { STORE_CHANGES, type StoreChange, type TrackersNews } from '../changes.ts'
import type { MemoryBounds, MemoryChange, MemoryRecord } from '../memory.ts'
import { acceptanceOf, auditOf, membershipOf } from '../records.ts'
import type { PruneBounds, Store } from '../store.ts'
import { insertAuditRow } from './audit-rows.ts'
import { memoryRows, memoryStatements } from './memory-rows.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { pruneRows } from './prune-rows.ts'
import { CHANGES, CHANGES_CHANNEL } from './schema.ts'
import type { Query } from './sql.ts'
import { meetTrackerRows, NOW_MS } from './tracker-rows.ts'

/** The part of the store for what trackers tell each other, and for its upkeep. */
export function sharedStore(db: PostgresDatabase) {
  /** This process, for the others. */
  const tracker = randomBytes(8).toString('hex')
  return {
    isShared: true,

    memory(nowMs: number, bounds: MemoryBounds): Promise<MemoryRecord> {
      return db.run((sql) => memoryRows(sql, nowMs, bounds))
    },

    async saveMemory(change: MemoryChange): Promise<void> {
      const statements = memoryStatements(tracker, change)
      const save = async (sql: Query) => {
        for (const statement of statements) await statement(sql)
      }
      if (statements.length === 1) await db.statement(save)
      else if (statements.length > 1) await db.atomically(save)
    },

    async acceptance(id: string) {
      const [row] = await db.run((sql) => sql`SELECT * FROM acceptances WHERE id = ${id}`)
      return row && acceptanceOf(row)
    },

    async membership(id: string) {
      const [row] = await db.run((sql) => sql`SELECT * FROM memberships WHERE id = ${id}`)
      return row && membershipOf(row)
    },

    async swarmVersions(cluster: ClusterId, swarms: readonly SwarmId[]): Promise<Map<SwarmId, number>> {
      const rows = await db.run(
        (sql) => sql`SELECT id, version FROM swarms WHERE cluster = ${cluster} AND id IN ${sql.list(swarms)}`,
      )
      return new Map(rows.map(({ id, version }) => [id as SwarmId, version as number]))
    },

    async registriesNotOpen(): Promise<RegistryHost[]> {
      const rows = await db.run((sql) => sql`SELECT registry FROM registries_not_open ORDER BY registry`)
      return rows.map(({ registry }) => registry as RegistryHost)
    },

    async putRegistryNotOpen(registry: RegistryHost): Promise<void> {
      await db.run((sql) => sql`INSERT INTO registries_not_open VALUES (${registry}) ON CONFLICT DO NOTHING`)
    },

    async addAudit(entry: AuditEntry): Promise<void> {
      await db.run((sql) => insertAuditRow(sql, entry))
    },

    async audit({ limit, beforeSequence = Number.MAX_SAFE_INTEGER, ...wanted }: AuditFilter) {
      const { actor = null, action = null, cluster = null, target = null } = wanted
      const rows = await db.run(
        (sql) => sql`SELECT * FROM audit WHERE sequence < ${beforeSequence}
          AND (${actor}::text IS NULL OR actor = ${actor}) AND (${action}::text IS NULL OR action = ${action})
          AND (${cluster}::text IS NULL OR cluster = ${cluster}) AND (${target}::text IS NULL OR target = ${target})
          ORDER BY sequence DESC LIMIT ${limit}`,
      )
      return rows.map(auditOf)
    },

    async watch(onChange: (what: StoreChange) => void): Promise<void> {
      const onTable = (table: string) => {
        const what = CHANGES[table]
        if (what !== undefined) onChange(what)
      }
      // What came while nobody listened is unknown.
      const onConnect = () => STORE_CHANGES.forEach(onChange)
      await db.listen(CHANGES_CHANNEL, onTable, onConnect)
    },

    async clockOffsetMs(): Promise<number> {
      const askedAtMs = Date.now()
      const [row] = await db.run((sql) => sql`SELECT ${sql.text(NOW_MS)} AS now_ms`)
      return row?.now_ms - (askedAtMs + Date.now()) / 2
    },

    meetTrackers(cursor: number, silentMs: number): Promise<TrackersNews> {
      return db.run((sql) => meetTrackerRows(sql, tracker, { cursor, silentMs }))
    },

    prune(before: PruneBounds): Promise<{ nodes: number }> {
      return db.atomically((sql) => pruneRows(sql, before))
    },

    close(): Promise<void> {
      return db.close()
    },
  } satisfies Partial<Store>
}
