import { StoreUnusableError } from '../../errors.ts'
import type { PostgresDatabase } from './postgres-database.ts'
import { SEARCH_PATH } from './postgres-hosts.ts'
import { POSTGRES_MIGRATIONS, SCHEMA } from './schema.ts'
import type { Query } from './sql.ts'

/** One migration runs at a time. */
const MIGRATE_LOCK = 'shoal migrate'

/** What of PostgreSQL a role's name may be here: it is written into statements. */
export const ROLE_NAME = /^[a-z_][a-z0-9_]{0,62}$/

/**
 * Brings the database to this program's schema, as its owner, and lets the trackers' role use it: without any change of
 * tables, and of the audit log only to read and add.
 * @param runtimeRole the role that trackers log in as; it exists
 * @returns how many migrations were applied
 * @throws StoreUnusableError if a newer version made the schema, or the role may do too much
 */
export async function migratePostgres(database: PostgresDatabase, runtimeRole: string): Promise<number> {
  if (!ROLE_NAME.test(runtimeRole))
    throw new StoreUnusableError(`${JSON.stringify(runtimeRole)} is not a name for a role of trackers`, {
      hint: 'Use lower-case letters, digits and underscores.',
    })
  return await database.atomically(async (sql) => {
    await sql`SELECT pg_advisory_xact_lock(hashtext(${MIGRATE_LOCK}))`
    const [current] = await sql`SELECT current_user AS name`
    if (current?.name === runtimeRole)
      throw new StoreUnusableError(
        'the owner of the database and the role of the trackers must be different roles',
      )
    await sql.run(`CREATE SCHEMA IF NOT EXISTS ${SCHEMA}`)
    const [schema] =
      await sql`SELECT nspowner = to_regrole(current_user) AS is_own FROM pg_namespace WHERE nspname = ${SCHEMA}`
    if (schema?.is_own !== true)
      throw new StoreUnusableError(`the schema ${SCHEMA} belongs to another role`, {
        hint: 'Run the command as its owner, or drop the schema if it is not Shoal’s.',
      })
    await sql.run(`REVOKE ALL ON SCHEMA ${SCHEMA} FROM PUBLIC`)
    await sql.run(
      `CREATE TABLE IF NOT EXISTS ${SCHEMA}.migrations (number integer PRIMARY KEY, oldest_program integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
    )
    const applied = await appliedMigrations(sql)
    refuseNewer(applied)
    for (const [index, { sql: statements, oldestProgram }] of POSTGRES_MIGRATIONS.entries()) {
      if (index < applied.number) continue
      await sql.run(statements)
      await sql`INSERT INTO migrations (number, oldest_program) VALUES (${index + 1}, ${oldestProgram})`
    }
    await sql.run(grantsTo(runtimeRole))
    return Math.max(0, POSTGRES_MIGRATIONS.length - applied.number)
  })
}

/**
 * Checks, as the trackers' role, that the database may be used.
 * @throws StoreUnusableError if its schema is absent, too old or too new, or the role may do more than a tracker needs
 */
export async function checkPostgres(database: PostgresDatabase): Promise<void> {
  if (database.isPooled) await database.run(refuseOtherPath)
  await database.run(refuseMighty)
  await checkSchema(database)
}

/** @throws StoreUnusableError if the schema is absent, too old or too new */
export async function checkSchema(database: PostgresDatabase): Promise<void> {
  await database.run(async (sql) => {
    const [{ is_there: isThere } = { is_there: null }] =
      await sql`SELECT to_regclass(${`${SCHEMA}.migrations`}) AS is_there`
    const applied = isThere === null ? { number: 0, oldestProgram: 1 } : await appliedMigrations(sql)
    refuseNewer(applied)
    if (applied.number < POSTGRES_MIGRATIONS.length)
      throw new StoreUnusableError('the database has an older schema than this program needs, or none', {
        hint: 'Run `shoal tracker migrate` as the owner of the database. Trackers of the version before go on meanwhile.',
      })
  })
}

interface Applied {
  number: number
  oldestProgram: number
}

async function appliedMigrations(sql: Query): Promise<Applied> {
  const [row] =
    await sql`SELECT coalesce(max(number), 0) AS number, coalesce(max(oldest_program), 1) AS oldest
    FROM migrations`
  return { number: row?.number, oldestProgram: row?.oldest }
}

function refuseNewer({ oldestProgram }: Applied): void {
  if (oldestProgram <= POSTGRES_MIGRATIONS.length) return
  throw new StoreUnusableError('a newer version of Shoal made the store', {
    hint: 'Run the version that made it, or a newer one.',
  })
}

/** A pooler gives a session's settings to nobody, so the role must have them. */
async function refuseOtherPath(sql: Query): Promise<void> {
  const [row] = await sql`SELECT current_setting('search_path') AS path, current_user AS role,
    current_database() AS database`
  if (row?.path.replaceAll(' ', '') === SEARCH_PATH) return
  throw new StoreUnusableError(`behind a pooler, the role ${row?.role} needs settings of its own`, {
    hint: `As an administrator: ALTER ROLE ${row?.role} IN DATABASE ${row?.database} SET search_path = ${SEARCH_PATH}; then RECONNECT the pooler.`,
  })
}

/** A tracker that was taken over must not be able to rewrite the audit log or the tables, so no tracker may. */
async function refuseMighty(sql: Query): Promise<void> {
  const [role] = await sql`
    SELECT bool_or(rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication) AS is_mighty,
      bool_or(has_schema_privilege(current_user, pg_namespace.oid, 'CREATE')) AS makes_tables,
      bool_or(pg_has_role(current_user, nspowner, 'MEMBER')) AS is_owner,
      bool_or(has_table_privilege(current_user, to_regclass(${`${SCHEMA}.audit`}), 'UPDATE, DELETE, TRUNCATE')) AS rewrites
    FROM pg_roles LEFT JOIN pg_namespace ON nspname = ${SCHEMA}
    WHERE pg_has_role(current_user, pg_roles.oid, 'MEMBER')`
  const may =
    role?.is_mighty === true
      ? 'is a superuser, or may make roles or databases'
      : role?.makes_tables === true || role?.is_owner === true
        ? 'owns the schema, or may change its tables'
        : role?.rewrites === true
          ? 'may rewrite the audit log'
          : undefined
  if (may === undefined) return
  throw new StoreUnusableError(`the tracker's role ${may}`, {
    hint: 'Log in as a role of its own, which `shoal tracker migrate --runtime-role ROLE` lets use the tables.',
  })
}

function grantsTo(role: string): string {
  return `
    GRANT USAGE ON SCHEMA ${SCHEMA} TO ${role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${SCHEMA} TO ${role};
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${SCHEMA} TO ${role};
    REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ${SCHEMA}.audit FROM ${role};
    GRANT INSERT (at_ms, actor, action, cluster, target) ON ${SCHEMA}.audit TO ${role};
    REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ${SCHEMA}.migrations FROM ${role};
    GRANT EXECUTE ON FUNCTION ${SCHEMA}.forget_audit, ${SCHEMA}.save_swarm TO ${role};
  `
}
