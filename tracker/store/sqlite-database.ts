import { closeSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { checkOwnFiles, DataFolderError } from '../../core/data-folder.ts'
import { StoreUnusableError } from '../errors.ts'
import type { Row } from './records.ts'
import { MIGRATIONS } from './schema.ts'

/** How long a write waits for another process, for instance a backup. */
const BUSY_TIMEOUT_MS = 5000

interface Waiting extends PromiseWithResolvers<void> {
  work: () => void
}

/**
 * One SQLite file with its prepared statements. With the write-ahead log, a killed process loses nothing that it answered.
 * A power cut may lose the last commits with `synchronous = NORMAL`. `durably` waits for the disk; use it for data that
 * must never be lost.
 */
export class SqliteDatabase {
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  #waiting: Waiting[] = []

  /** @throws StoreUnusableError if the file is not a database, or a newer version made it; DataFolderError */
  constructor(path: string) {
    let opened: DatabaseSync | undefined
    try {
      if (path !== ':memory:') {
        checkOwnFiles(['', '-wal', '-shm', '-journal'].map((suffix) => `${path}${suffix}`))
        // SQLite gives its journals the mode of the database.
        closeSync(openSync(path, 'a', 0o600))
      }
      opened = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: false })
      this.#database = opened
      // Nothing is written before the version is known.
      const version = this.#version()
      this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
      this.#migrate(version)
    } catch (cause) {
      opened?.close()
      if (cause instanceof StoreUnusableError || cause instanceof DataFolderError) throw cause
      throw new StoreUnusableError(`cannot open the store ${path}: ${(cause as Error).message}`, { cause })
    }
  }

  run(sql: string, ...values: SQLInputValue[]): { changes: number; rowId: number } {
    const result = this.#statement(sql).run(...values)
    return { changes: Number(result.changes), rowId: Number(result.lastInsertRowid) }
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values)
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values)
  }

  /** One row after the other. */
  each(sql: string): IterableIterator<Row> {
    return this.#statement(sql).iterate()
  }

  /** Runs `work` as one transaction. */
  atomically<T>(work: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
  }

  /**
   * Runs `work` in one transaction with all work of the same turn of the event loop: a commit costs more than the rows of
   * many pulls. `work` may run twice; the first run is then rolled back.
   * @returns when it is committed; rejects with the error of this `work` alone
   */
  together(work: () => void): Promise<void> {
    if (this.#waiting.length === 0) setImmediate(() => this.#commitWaiting())
    const waiting = { ...Promise.withResolvers<void>(), work }
    this.#waiting.push(waiting)
    return waiting.promise
  }

  #commitWaiting(): void {
    const group = this.#waiting
    this.#waiting = []
    if (group.length === 0) return
    try {
      this.atomically(() => {
        for (const { work } of group) work()
      })
      for (const { resolve } of group) resolve()
    } catch {
      // One failure must not roll back the others.
      for (const waiting of group) this.#commitAlone(waiting)
    }
  }

  #commitAlone({ work, resolve, reject }: Waiting): void {
    try {
      this.atomically(work)
      resolve()
    } catch (error) {
      reject(error)
    }
  }

  /** Like `atomically`, but returns only when the disk has it: for keys, revocations and epochs. */
  durably<T>(work: () => T): T {
    this.#database.exec('PRAGMA synchronous = FULL')
    try {
      return this.atomically(work)
    } finally {
      this.#database.exec('PRAGMA synchronous = NORMAL')
    }
  }

  /** Like `durably`, and removes replaced and deleted values from the files: for secrets. */
  erasing<T>(work: () => T): T {
    this.#database.exec('PRAGMA secure_delete = ON')
    try {
      return this.durably(work)
    } finally {
      this.#database.exec('PRAGMA secure_delete = OFF')
      this.#emptyLog()
    }
  }

  /** Old pages stay in the write-ahead log until the new ones reach the database itself. */
  #emptyLog(): void {
    try {
      this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } catch {
      // Another process is reading (a backup): the work is committed, and the next checkpoint empties the log.
    }
  }

  close(): void {
    this.#commitWaiting()
    this.#statements.clear()
    this.#database.close()
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /** @throws StoreUnusableError if it is unknown here */
  #version(): number {
    const { user_version: version } = this.#database.prepare('PRAGMA user_version').get()!
    if (Number(version) <= MIGRATIONS.length) return Number(version)
    throw new StoreUnusableError('a newer version of Shoal made the store; nothing was changed', {
      hint: 'Run the version that made it, or a newer one, or restore a backup of before the upgrade.',
    })
  }

  #migrate(version: number): void {
    for (const [index, sql] of MIGRATIONS.entries()) {
      if (index < version) continue
      this.durably(() => this.#database.exec(`${sql}; PRAGMA user_version = ${index + 1}`))
    }
  }
}
