import { StoreDumpError } from '../errors.ts'
import { BLOCKS_GAP } from './blocks.ts'
import { type BackupHead, DUMPED, type DumpTarget, type Loaded, loadLines } from './dump.ts'
import { REVOCATIONS_GAP } from './restores.ts'

/** Epochs that a restored store leaves out: nodes refuse what is signed in an older epoch than they know. */
const EPOCHS_GAP = 1024

/** An empty store, inside a transaction. */
export interface EmptyStore {
  store: DumpTarget
  run(sql: string): Promise<unknown>
  /** The only value of the only row. */
  number(sql: string): Promise<number>
  /** An older program, which would pass over what this one writes, does not start with it. */
  refuseOlderPrograms(): Promise<unknown>
}

/**
 * Stores what `dumpLines` wrote, to go on with it.
 * @throws StoreDumpError also for a backup: it may be older than what nodes obeyed since
 */
export async function importLines(lines: AsyncIterable<string>, { store }: EmptyStore): Promise<Loaded> {
  const loaded = await loadLines(lines, store)
  if (loaded.head.shoal === 'backup')
    throw new StoreDumpError('this is a backup', { hint: 'Use `shoal tracker restore`.' })
  return loaded
}

/**
 * Stores a backup, or an export as one. What ended after it must not come back; the tracker then grants nothing until an
 * operator confirms.
 * @param nowMs whole milliseconds since 1970
 * @throws StoreDumpError
 */
export async function restoreLines(
  lines: AsyncIterable<string>,
  { store, run, number, refuseOlderPrograms }: EmptyStore,
  nowMs: number,
): Promise<Loaded & Pick<BackupHead, 'takenAtMs'>> {
  const loaded = await loadLines(lines, store)
  for (const step of stepsAfter(nowMs)) await run(step)
  const revocationsFrom = await number('SELECT coalesce(max(sequence), 0) FROM revocations')
  const newestEntryMs = await number('SELECT coalesce(max(at_ms), 0) FROM audit')
  const takenAtMs = loaded.head.takenAtMs ?? newestEntryMs
  // A clearing: whoever knows a number below gets all that is in force.
  const gap = { sequence: revocationsFrom + REVOCATIONS_GAP, kind: 'node', is_clearing: 1, is_left: 0 }
  const entry = { actor: 'operator', action: 'backup restored', target: new Date(takenAtMs).toISOString() }
  const entries = await number('SELECT coalesce(max(sequence), 0) FROM audit')
  const marks = {
    revocations: { cluster: '', target: '', at_ms: nowMs, ...gap },
    restores: { restored_at_ms: nowMs, backup_at_ms: takenAtMs, revocations_from: revocationsFrom },
    audit: { sequence: entries + 1, at_ms: nowMs, ...entry },
  }
  await refuseOlderPrograms()
  await run('UPDATE restores SET confirmed_at_ms = 0 WHERE confirmed_at_ms IS NULL')
  for (const [table, row] of Object.entries(marks)) {
    const columns = DUMPED[table]!
    await store(table, columns, [
      columns.map((column) => (row as Record<string, string | number>)[column] ?? null),
    ])
  }
  return { ...loaded, takenAtMs }
}

/** For both databases. */
function stepsAfter(nowMs: number): string[] {
  const unconfirmed = 'swarm IN (SELECT id FROM swarms WHERE is_confirmed = 0)'
  return [
    // Their uses and withdrawals are those of the backup.
    `UPDATE join_tokens SET withdrawn_at_ms = ${Math.round(nowMs)} WHERE withdrawn_at_ms IS NULL`,
    // Administrators' certificates end with their authority; the next start makes another.
    "DELETE FROM authorities WHERE cluster = ''",
    // One of them may have been withdrawn since.
    'DELETE FROM admin_tokens',
    // They are probed again; withdrawn ones stay withdrawn.
    'DELETE FROM token_keys WHERE withdrawn_at_ms IS NULL',
    'DELETE FROM leases',
    ...['pieces', 'completions', 'disputes', 'pieces_sha1'].map(
      (table) => `DELETE FROM ${table} WHERE ${unconfirmed}`,
    ),
    `UPDATE swarms SET epoch = epoch + ${EPOCHS_GAP}, version = version + 1 WHERE is_confirmed = 0`,
    // Nodes that knew newer blocks take those of the backup.
    `INSERT INTO blocks SELECT 'restored ' || ${Math.round(nowMs)} || id, id, NULL, NULL, NULL, ${Math.round(nowMs)},
      (SELECT coalesce(max(changed), 0) FROM blocks) + ${BLOCKS_GAP}, 1 FROM clusters`,
    // What nodes told after an earlier restore is told again.
    'DELETE FROM restore_heard',
    'DELETE FROM restore_learned',
  ]
}
