import type { SwarmId } from '../../core/metainfo.ts'
import type { MemoryBounds, MemoryChange, MemoryRecord, PresenceRecord } from './memory.ts'
import { bytes, type SqliteDatabase } from './sqlite-database.ts'

/** A swarm's id, and 1 for a seed. */
const HOLD_BYTES = 21

export function memoryRows(db: SqliteDatabase, nowMs: number, bounds: MemoryBounds): MemoryRecord {
  // Of more than memory takes, those that last longest.
  const live = (table: 'acceptances' | 'memberships') =>
    db
      .all(
        `SELECT * FROM ${table} WHERE until_ms > ? ORDER BY until_ms DESC LIMIT ?`,
        nowMs,
        bounds[`${table}Max`],
      )
      .reverse() as unknown[]
  const presences = db.all('SELECT * FROM presences LIMIT ?', bounds.presencesMax).map((row) => ({
    cluster: row.cluster,
    node: row.node,
    address: row.address,
    port: row.port,
    wire: row.wire,
    holds: holdsOf(bytes(row.holds)),
  })) as PresenceRecord[]
  const acceptances = (live('acceptances') as { id: string; digest: string; until_ms: number }[]).map(
    ({ id, digest, until_ms }) => ({ id, digest, untilMs: until_ms }),
  ) as MemoryRecord['acceptances']
  const memberships = (live('memberships') as { id: string; bytes: number | null; until_ms: number }[]).map(
    ({ id, bytes, until_ms }) => ({ id, bytes, untilMs: until_ms }),
  )
  return { presences, acceptances, memberships }
}

/** Run it inside a transaction. */
export function putMemoryRows(db: SqliteDatabase, change: MemoryChange): void {
  for (const { cluster, node } of change.gone) {
    db.run('DELETE FROM presences WHERE cluster = ? AND node = ?', cluster, node)
  }
  for (const { cluster, node, address, port, wire, holds } of change.presences) {
    const put = 'INSERT OR REPLACE INTO presences VALUES (?, ?, ?, ?, ?, ?)'
    db.run(put, cluster, node, address, port, bytesOf(holds), wire)
  }
  for (const { id, digest, untilMs } of change.acceptances) {
    db.run('INSERT OR REPLACE INTO acceptances VALUES (?, ?, ?)', id, digest, untilMs)
  }
  for (const { id, bytes, untilMs } of change.memberships) {
    db.run('INSERT OR REPLACE INTO memberships VALUES (?, ?, ?)', id, bytes, untilMs)
  }
}

/** Run it inside a transaction. */
export function deleteEndedMemoryRows(db: SqliteDatabase, nowMs: number): void {
  for (const table of ['acceptances', 'memberships']) {
    db.run(`DELETE FROM ${table} WHERE until_ms <= ?`, nowMs)
  }
}

function bytesOf(holds: PresenceRecord['holds']): Buffer {
  const packed = Buffer.alloc(holds.length * HOLD_BYTES)
  for (const [index, { swarm, isSeed }] of holds.entries()) {
    packed.write(swarm, index * HOLD_BYTES, 'hex')
    packed[index * HOLD_BYTES + HOLD_BYTES - 1] = isSeed ? 1 : 0
  }
  return packed
}

function holdsOf(packed: Buffer): PresenceRecord['holds'] {
  const holds: PresenceRecord['holds'] = []
  for (let at = 0; at + HOLD_BYTES <= packed.length; at += HOLD_BYTES) {
    const swarm = packed.toString('hex', at, at + HOLD_BYTES - 1) as SwarmId
    holds.push({ swarm, isSeed: packed[at + HOLD_BYTES - 1] === 1 })
  }
  return holds
}
