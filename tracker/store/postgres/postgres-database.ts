import { setTimeout as delay } from 'node:timers/promises'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import postgres, { type ISql, type Options, type PostgresType, type Sql, type TransactionSql } from 'postgres'
import type { DatabasePlace } from '../../database-url.ts'
import { StoreConflictError, StoreUnavailableError, StoreUnusableError } from '../../errors.ts'
import { SCHEMA } from './schema.ts'

/** Connections of one tracker, besides the one that listens for changes. */
export const POSTGRES_CONNECTIONS_MAX = 8
/** How long a tracker waits for a connection to the database. */
export const POSTGRES_CONNECT_SECONDS_MAX = 3
/** Pause between two attempts to connect. */
const RECONNECT_SECONDS = 0.5
/** How long a step may take before its request fails: nodes then pull directly. */
export const POSTGRES_STEP_MS_MAX = 5_000
/** How long the server itself works on one statement, and lets a transaction stand idle. */
const STATEMENT_MS_MAX = 4_000
/** Attempts of a step that met another one (serialisation failure, deadlock). */
const ATTEMPTS_MAX = 4
/** Pause before another attempt, by chance up to this. */
const ATTEMPT_PAUSE_MS_MAX = 20
/** The server was stopped, or takes no more connections (PostgreSQL, appendix A: class 57, 53, 08). */
const UNAVAILABLE = /^(?:57P0\d|57014|53\w{3}|08\w{3}|25006|55P03)$/
/** serialization_failure, deadlock_detected */
const MET_ANOTHER = new Set(['40001', '40P01'])

export interface PostgresSettings {
  place: DatabasePlace
  password?: string
  /** PEM of the authorities of the server's certificate; default: the system's. */
  authorityPem?: string
}

/** `int8` as a number: times and counters stay below 2^53. */
const INT8: PostgresType<number> = { to: 20, from: [20], serialize: String, parse: Number }

type Types = { int8: PostgresType<number> }
type Statements = Sql<{ int8: number }>
type Transaction = TransactionSql<{ int8: number }>
/** Runs statements, alone or within a transaction. */
export type Query = ISql<{ int8: number }>

/**
 * Connections to one PostgreSQL database. Its certificate is verified against the name in the URL (`verify-full`), or the
 * server is reached by its local socket. Every step ends within POSTGRES_STEP_MS_MAX, also when the server is frozen.
 */
export class PostgresDatabase {
  readonly #settings: PostgresSettings
  #sql: Statements

  constructor(settings: PostgresSettings) {
    this.#settings = settings
    this.#sql = connect(settings)
  }

  /**
   * One step: a statement, or several without a transaction.
   * @throws StoreUnavailableError
   */
  async run<T>(work: (sql: Statements) => Promise<T>): Promise<T> {
    const sql = this.#sql
    const late = new AbortController()
    try {
      return await Promise.race([
        work(sql),
        delay(POSTGRES_STEP_MS_MAX, undefined, { signal: late.signal, ref: false }).then(() => {
          this.#replace(sql)
          throw new StoreUnavailableError(`the database did not answer within ${POSTGRES_STEP_MS_MAX} ms`)
        }),
      ])
    } catch (error) {
      throw asStoreError(error)
    } finally {
      late.abort()
    }
  }

  /**
   * One transaction, once more if it met another one: `work` may run several times.
   * @throws StoreUnavailableError, StoreConflictError
   */
  async atomically<T>(work: (sql: Transaction) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return (await this.run((sql) => sql.begin(work))) as T
      } catch (error) {
        if (!MET_ANOTHER.has(codeOf(error)) || attempt === ATTEMPTS_MAX) throw error
        await delay(Math.random() * ATTEMPT_PAUSE_MS_MAX * attempt)
      }
    }
  }

  /** Everything that `work` reads is of one moment. */
  async reading<T>(work: (sql: Transaction) => Promise<T>): Promise<T> {
    return (await this.run((sql) => sql.begin('isolation level repeatable read read only', work))) as T
  }

  /** One transaction that may take minutes. */
  async atLength<T>(how: string, work: (sql: Transaction) => Promise<T>): Promise<T> {
    try {
      return (await this.#sql.begin(how, async (sql) => {
        await sql`SET LOCAL statement_timeout = 0`
        await sql`SET LOCAL idle_in_transaction_session_timeout = 0`
        return await work(sql)
      })) as T
    } catch (error) {
      throw asStoreError(error)
    }
  }

  /** Calls `onChange` with the table's name, and `onConnect` after each (re)connection, when changes may have been missed. */
  async listen(channel: string, onChange: (table: string) => void, onConnect: () => void): Promise<void> {
    await this.run((sql) => sql.listen(channel, onChange, onConnect))
  }

  async close(): Promise<void> {
    await this.#sql.end({ timeout: 1 })
  }

  /** A frozen server answers nothing on the old connections, whatever they are asked. */
  #replace(stuck: Statements): void {
    if (this.#sql !== stuck) return
    this.#sql = connect(this.#settings)
    void stuck.end({ timeout: 0 }).catch(() => undefined)
  }
}

function connect({ place, password, authorityPem }: PostgresSettings): Statements {
  const { user, database } = place
  return postgres({
    ...(place.socket === undefined ? overTls(place, authorityPem) : { path: place.socket, ssl: false }),
    user,
    database,
    password: password ?? '',
    max: POSTGRES_CONNECTIONS_MAX,
    connect_timeout: POSTGRES_CONNECT_SECONDS_MAX,
    backoff: () => RECONNECT_SECONDS,
    onnotice: () => undefined,
    types: { int8: INT8 },
    connection: {
      application_name: 'shoal-tracker',
      search_path: `${SCHEMA},pg_temp`,
      statement_timeout: STATEMENT_MS_MAX,
      idle_in_transaction_session_timeout: STATEMENT_MS_MAX,
    },
  })
}

/** `verify-full`: the certificate has a known authority, and the name that the URL says. */
function overTls({ hosts }: DatabasePlace, authorityPem: string | undefined): Partial<Options<Types>> {
  const [only] = hosts
  // Without a name (for an address) TLS would compare the certificate with `localhost`.
  const named = (_: string, certificate: PeerCertificate) =>
    checkServerIdentity(only?.host ?? '', certificate)
  return {
    // The library takes lists, but its types do not.
    host: hosts.map(({ host }) => host) as unknown as string,
    port: hosts.map(({ port }) => port) as unknown as number,
    ssl: {
      minVersion: 'TLSv1.2',
      ...(authorityPem === undefined ? {} : { ca: authorityPem }),
      ...(hosts.length === 1 ? { checkServerIdentity: named } : {}),
    },
    target_session_attrs: 'read-write',
  }
}

/** Errors that say something of the database, as ours; a defect stays what it is. */
function asStoreError(error: unknown): unknown {
  if (error instanceof StoreUnavailableError || error instanceof StoreConflictError) return error
  const code = codeOf(error)
  const isOfConnection =
    /^(?:CONNECTION_|CONNECT_TIMEOUT|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOENT|ENOTFOUND|EAI_AGAIN|ERR_TLS|ERR_SSL|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)/
  if (code === '28P01' || code === '28000')
    return new StoreUnusableError('the database refuses this user or its password', { cause: error })
  if (!UNAVAILABLE.test(code) && !isOfConnection.test(code)) return error
  return new StoreUnavailableError(`the database cannot be reached: ${(error as Error).message}`, {
    cause: error,
  })
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : ''
}
