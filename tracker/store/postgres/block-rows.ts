import { type BlockRecord, blockColumns } from '../blocks.ts'
import { orderLock } from './schema.ts'
import type { Query } from './sql.ts'

/** Run it inside a transaction. */
export async function insertBlockRow(sql: Query, block: BlockRecord): Promise<void> {
  const { id, cluster, registry, repository, digest, atMs } = blockColumns(block)
  await lockOrder(sql)
  await sql`INSERT INTO blocks VALUES (${id}, ${cluster}, ${registry}, ${repository}, ${digest}, ${atMs},
    (SELECT coalesce(max(changed), 0) + 1 FROM blocks), 0)`
  await dropOldRemovals(sql)
}

/** Run it inside a transaction. @returns false if no such block is in force */
export async function removeBlockRow(sql: Query, id: string): Promise<boolean> {
  await lockOrder(sql)
  const { count } = await sql`UPDATE blocks
    SET is_removed = 1, changed = (SELECT max(changed) + 1 FROM blocks) WHERE id = ${id} AND is_removed = 0`
  if (count === 0) return false
  await dropOldRemovals(sql)
  return true
}

async function lockOrder(sql: Query): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(${sql.text(orderLock('blocks'))})`
}

/** Of a cluster's removals only its newest change counts. */
async function dropOldRemovals(sql: Query): Promise<void> {
  await sql`DELETE FROM blocks WHERE is_removed = 1
    AND changed < (SELECT max(changed) FROM blocks AS newer WHERE newer.cluster = blocks.cluster)`
}
