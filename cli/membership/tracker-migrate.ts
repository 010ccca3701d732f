import { readSecret } from '../../certs-tool/admin-flags.ts'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { openDatabase } from '../../tracker/store/open-store.ts'

/** `shoal tracker migrate`: the only command that changes tables. */
export const trackerMigrateCommand = command({
  positionals: [],
  flags: {
    'database-url': {
      type: 'string',
      value: 'url',
      description: 'The database, with the user that owns it: postgres://shoal_owner@db.example.com/shoal.',
    },
    'runtime-role': {
      type: 'string',
      value: 'role',
      default: 'shoal_tracker',
      description:
        'The role that trackers log in as. It gets no right to change tables, and only adds to the audit log.',
    },
    'database-password-file': {
      type: 'string',
      value: 'file',
      default: '-',
      description: "The owner's password; - is standard input.",
    },
    'database-ca-file': {
      type: 'string',
      value: 'file',
      description: "PEM authorities of the database server's certificate; absent: the system's.",
    },
  },
  async run(values) {
    const url = values['database-url']
    if (url === undefined) throw new UsageError('--database-url is missing')
    const password = readSecret(values['database-password-file'])
    const database = await openDatabase(url, { databaseCaFile: values['database-ca-file'] }, password)
    try {
      const { migratePostgres } = await import('../../tracker/store/postgres/migrate.ts')
      const applied = await migratePostgres(database, values['runtime-role'])
      return applied === 0 ? 'the database has the newest schema\n' : `migrations applied: ${applied}\n`
    } finally {
      await database.close()
    }
  },
})
