import { createReadStream, createWriteStream, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DATA_DIR_FLAG, trackerDataDir } from '../../certs-tool/admin-flags.ts'
import { FileExistsError } from '../../certs-tool/errors.ts'
import { accessError } from '../../certs-tool/key-files.ts'
import { command } from '../../core/command.ts'
import { ensureDataDir } from '../../core/config.ts'
import { lockDataDir } from '../../core/data-lock.ts'
import { utcSecondsText } from '../../core/time-text.ts'
import { shoalVersion } from '../../core/version.ts'
import type { BackupHead } from '../../tracker/store/dump.ts'
import { openDatabase, STORE_FILE } from '../../tracker/store/open-store.ts'
import type { EmptyStore } from '../../tracker/store/take-in.ts'

/** `shoal tracker export|import`, from one database to another, and `shoal tracker backup|restore`. */

const PLACE_FLAGS = {
  'data-dir': {
    type: 'string',
    value: 'folder',
    default: '/var/lib/shoal-tracker',
    description: "The tracker's data folder, where its state is in a file.",
  },
  'database-url': {
    type: 'string',
    value: 'url',
    description: 'The database instead: postgres://shoal_tracker@db.example.com/shoal.',
  },
  'database-password-file': { type: 'string', value: 'file', description: "File with the role's password." },
  'database-ca-file': {
    type: 'string',
    value: 'file',
    description: "PEM authorities of the database server's certificate; absent: the system's.",
  },
} as const

/** A store that is read is also that of `shoal up`; one that is filled must be named. */
const SOURCE_FLAGS = { ...PLACE_FLAGS, 'data-dir': DATA_DIR_FLAG } as const

interface Source extends Omit<Place, 'data-dir'> {
  'data-dir'?: string | undefined
}

interface Place {
  'data-dir': string
  'database-url'?: string | undefined
  'database-password-file'?: string | undefined
  'database-ca-file'?: string | undefined
}

export const trackerExportCommand = command({
  positionals: ['file'],
  flags: SOURCE_FLAGS,
  async run(values, [file = '']) {
    await writeDump(values, file)
    return `${file} has the state; its secrets open with the unlock key of this tracker\n`
  },
})

export const trackerBackupCommand = command({
  positionals: ['file'],
  flags: SOURCE_FLAGS,
  async run(values, [file = '']) {
    await writeDump(values, file, { program: shoalVersion(), takenAtMs: Date.now() })
    return `${file} has the backup; it opens with the unlock key that this tracker has now: keep both, apart from each other\n`
  },
})

export const trackerImportCommand = command({
  positionals: ['file'],
  flags: PLACE_FLAGS,
  async run(values, [file = '']) {
    const { importLines } = await import('../../tracker/store/take-in.ts')
    const { rows } = await filled(values, (store) => importLines(linesOf(file), store))
    return `rows stored: ${rows}\n`
  },
})

export const trackerRestoreCommand = command({
  positionals: ['file'],
  flags: PLACE_FLAGS,
  async run(values, [file = '']) {
    const { restoreLines } = await import('../../tracker/store/take-in.ts')
    const restored = await filled(values, (store) => restoreLines(linesOf(file), store, Date.now()))
    return `${[
      `The backup of ${utcSecondsText(restored.takenAtMs)} is restored (rows: ${restored.rows}).`,
      'Start the tracker. It grants nothing yet, and nodes pull directly: it learns from them what was revoked since.',
      'Then, on its machine:',
      '  shoal tracker confirm-restore',
      'All tokens of the backup are withdrawn, of nodes and of administrators: `shoal admin token create` makes others.',
    ].join('\n')}\n`
  },
})

async function writeDump(place: Source, file: string, backup?: Omit<BackupHead, 'clusters'>): Promise<void> {
  // The sealed secrets open with the unlock key only, but who is in which cluster is for nobody else either.
  const output = createWriteStream(file, { fd: openedNew(file), flush: true })
  const write = (lines: AsyncIterable<string>) => pipeline(Readable.from(ended(lines)), output)
  try {
    await dumped(place, write, backup)
  } catch (error) {
    rmSync(file, { force: true })
    throw error
  }
}

/** @throws FileExistsError, FileAccessError */
function openedNew(file: string): number {
  try {
    return openSync(file, 'wx', 0o600)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST')
      throw new FileExistsError(`${file} exists`, { hint: 'Nothing was written. Name another file.' })
    throw accessError('write', file, cause)
  }
}

async function dumped(
  place: Source,
  write: (lines: AsyncIterable<string>) => Promise<void>,
  backup: Omit<BackupHead, 'clusters'> | undefined,
): Promise<void> {
  const url = place['database-url']
  if (url === undefined) {
    const { dumpSqlite } = await import('../../tracker/store/sqlite-dump.ts')
    return write(dumpSqlite(join(trackerDataDir(place['data-dir']), STORE_FILE), backup))
  }
  const database = await databaseOf(url, place)
  try {
    const { dumpPostgres } = await import('../../tracker/store/postgres/postgres-dump.ts')
    await dumpPostgres(database, write, backup)
  } finally {
    await database.close()
  }
}

/** Fills a new store, or leaves it as it was. */
async function filled<T>(place: Place, work: (store: EmptyStore) => Promise<T>): Promise<T> {
  const url = place['database-url']
  if (url === undefined) {
    const { fillSqlite } = await import('../../tracker/store/sqlite-dump.ts')
    ensureDataDir(place['data-dir'])
    const unlock = lockDataDir(place['data-dir'])
    try {
      return await fillSqlite(join(place['data-dir'], STORE_FILE), work)
    } finally {
      unlock()
    }
  }
  const database = await databaseOf(url, place)
  try {
    const { checkSchema } = await import('../../tracker/store/postgres/migrate.ts')
    await checkSchema(database)
    const { fillPostgres } = await import('../../tracker/store/postgres/postgres-dump.ts')
    return await fillPostgres(database, work)
  } finally {
    await database.close()
  }
}

/** @throws FileAccessError */
function linesOf(file: string): AsyncIterable<string> {
  try {
    const input = createReadStream(file, { fd: openSync(file, 'r') })
    return createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  } catch (cause) {
    throw accessError('read', file, cause)
  }
}

function databaseOf(url: string, place: Source) {
  return openDatabase(url, {
    databasePasswordFile: place['database-password-file'],
    databaseCaFile: place['database-ca-file'],
  })
}

async function* ended(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`
}
