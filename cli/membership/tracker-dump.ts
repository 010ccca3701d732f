import { createReadStream, createWriteStream, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { command } from '../../core/command.ts'
import { ensureDataDir } from '../../core/config.ts'
import { lockDataDir } from '../../core/data-lock.ts'
import { openDatabase, STORE_FILE } from '../../tracker/store/open-store.ts'

/** `shoal tracker export` and `shoal tracker import`: from one database to another. */

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

interface Place {
  'data-dir': string
  'database-url'?: string | undefined
  'database-password-file'?: string | undefined
  'database-ca-file'?: string | undefined
}

export const trackerExportCommand = command({
  positionals: ['file'],
  flags: PLACE_FLAGS,
  async run(values, [file = '']) {
    // The sealed secrets open with the unlock key only, but who is in which cluster is for nobody else either.
    const output = createWriteStream(file, { mode: 0o600, flags: 'wx' })
    const write = (lines: AsyncIterable<string>) => pipeline(Readable.from(ended(lines)), output)
    try {
      await opened(values, write)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') rmSync(file, { force: true })
      throw error
    }
    return `${file} has the state; its secrets open with the unlock key of this tracker\n`
  },
})

export const trackerImportCommand = command({
  positionals: ['file'],
  flags: PLACE_FLAGS,
  async run(values, [file = '']) {
    const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })
    return `rows stored: ${await load(values, lines)}\n`
  },
})

async function opened(place: Place, write: (lines: AsyncIterable<string>) => Promise<void>): Promise<void> {
  const url = place['database-url']
  if (url === undefined) {
    const { dumpSqlite } = await import('../../tracker/store/sqlite-dump.ts')
    return write(dumpSqlite(join(place['data-dir'], STORE_FILE)))
  }
  const database = await databaseOf(url, place)
  try {
    const { dumpPostgres } = await import('../../tracker/store/postgres/postgres-dump.ts')
    await dumpPostgres(database, write)
  } finally {
    await database.close()
  }
}

async function load(place: Place, lines: AsyncIterable<string>): Promise<number> {
  const url = place['database-url']
  if (url === undefined) {
    const { loadSqlite } = await import('../../tracker/store/sqlite-dump.ts')
    ensureDataDir(place['data-dir'])
    const unlock = lockDataDir(place['data-dir'])
    try {
      return await loadSqlite(join(place['data-dir'], STORE_FILE), lines)
    } finally {
      unlock()
    }
  }
  const database = await databaseOf(url, place)
  try {
    const { checkSchema } = await import('../../tracker/store/postgres/migrate.ts')
    await checkSchema(database)
    const { loadPostgres } = await import('../../tracker/store/postgres/postgres-dump.ts')
    return await loadPostgres(database, lines)
  } finally {
    await database.close()
  }
}

function databaseOf(url: string, place: Place) {
  return openDatabase(url, {
    databasePasswordFile: place['database-password-file'],
    databaseCaFile: place['database-ca-file'],
  })
}

async function* ended(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`
}
