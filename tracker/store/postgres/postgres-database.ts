import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import pg from 'pg'
import type { DatabasePlace } from '../../database-url.ts'
import { StoreConflictError, StoreUnavailableError, StoreUnusableError } from '../../errors.ts'
import { SCHEMA } from './schema.ts'
import { type Query, queryWith, type Rows, type Statement } from './sql.ts'

/** Connections of one tracker, besides the one that listens for changes. */
export const POSTGRES_CONNECTIONS_MAX = 8
/** How long a tracker waits for a connection to the database. */
export const POSTGRES_CONNECT_MS_MAX = 3_000
/** How long a step may take before its request fails: nodes then pull directly. */
export const POSTGRES_STEP_MS_MAX = 5_000
/** How long the server itself works on one statement, and lets a transaction stand idle. */
const STATEMENT_MS_MAX = 4_000
/** Attempts of a step that met another one (serialisation failure, deadlock). */
const ATTEMPTS_MAX = 4
/** Pause before another attempt, by chance up to this. */
const ATTEMPT_PAUSE_MS_MAX = 20
/** Pause before the listening connection is opened again. */
const LISTEN_AGAIN_MS = 500
/** How often the listening connection is asked for an answer, so that a dead one is noticed. */
const LISTEN_ASKED_MS = 10_000
/** The server was stopped, or takes no more connections (PostgreSQL, appendix A: class 57, 53, 08). */
const UNAVAILABLE = /^(?:57P0\d|57014|53\w{3}|08\w{3}|25006|55P03|25P03)$/
const UNREACHABLE =
  /^(?:E[A-Z]{2,}|EAI_AGAIN|ERR_TLS\w*|ERR_SSL\w*|CERT_\w+|SELF_SIGNED\w*|DEPTH_ZERO\w*|UNABLE_TO\w*)$/
/** Errors of the client library have no code. */
const UNREACHABLE_WORDS =
  /Connection terminated|timeout exceeded when trying to connect|does not support SSL|Client has encountered a connection error|Client was closed|Cannot use a pool after/
/** serialization_failure, deadlock_detected */
const MET_ANOTHER = new Set(['40001', '40P01'])

export interface PostgresSettings {
  place: DatabasePlace
  password?: string
  /** PEM of the authorities of the server's certificate; default: the system's. */
  authorityPem?: string
}

/**
 * Connections to one PostgreSQL database. Its certificate is verified against the name in the URL (`verify-full`), or the
 * server is reached by its local socket. Every step ends within POSTGRES_STEP_MS_MAX, also when the server is frozen.
 */
export class PostgresDatabase {
  readonly #pool: pg.Pool
  readonly #makeClient: () => pg.Client
  readonly #closed = new AbortController()
  #listening: Promise<void> | undefined

  constructor(settings: PostgresSettings) {
    const configs = configsOf(settings)
    let at = 0
    // Hosts in turn, until one takes writes.
    const next = () => configs[at++ % configs.length]!
    this.#makeClient = () => new pg.Client(next())
    const max = POSTGRES_CONNECTIONS_MAX
    class Client extends pg.Client {
      constructor() {
        super(next())
      }
    }
    this.#pool = new pg.Pool({
      Client,
      max,
      connectionTimeoutMillis: POSTGRES_CONNECT_MS_MAX,
      idleTimeoutMillis: 0,
    })
    // An idle connection ended: the next step opens another.
    this.#pool.on('error', () => undefined)
  }

  /**
   * One step: a statement, or several without a transaction.
   * @throws StoreUnavailableError
   */
  async run<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(POSTGRES_STEP_MS_MAX, async (client) => {
      const { sql, settled } = queryOn(client)
      return await work(sql).finally(settled)
    })
  }

  /**
   * One statement that changes something, once more if it met another one.
   * @throws StoreUnavailableError
   */
  statement<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return oncePast(() => this.run(work))
  }

  /**
   * One transaction, once more if it met another one: `work` may run several times.
   * @throws StoreUnavailableError, StoreConflictError
   */
  atomically<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return oncePast(() =>
      this.#within(POSTGRES_STEP_MS_MAX, (client) => inTransaction(client, 'BEGIN', work)),
    )
  }

  /** Everything that `work` reads is of one moment. */
  async reading<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(POSTGRES_STEP_MS_MAX, (client) => inTransaction(client, READING, work))
  }

  /** One transaction that may take minutes. */
  async atLength<T>(how: 'reading' | 'writing', work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(undefined, (client) =>
      inTransaction(client, how === 'reading' ? READING : 'BEGIN', async (sql) => {
        await sql`SET LOCAL statement_timeout = 0`
        await sql`SET LOCAL idle_in_transaction_session_timeout = 0`
        return await work(sql)
      }),
    )
  }

  /**
   * Calls `onChange` with each notice's text, and `onConnect` after each (re)connection, when notices may have been missed.
   * @returns when it listens for the first time @throws StoreUnavailableError
   */
  async listen(channel: string, onChange: (text: string) => void, onConnect: () => void): Promise<void> {
    const first = Promise.withResolvers<void>()
    const heard = () => {
      first.resolve()
      onConnect()
    }
    const once = async () => {
      const error: unknown = await this.#listenOnce(channel, onChange, heard).then(
        () => undefined,
        asStoreError,
      )
      first.reject(error ?? new StoreUnavailableError('the listening connection ended'))
    }
    const forEver = async () => {
      while (!this.#closed.signal.aborted) {
        await once()
        await delay(LISTEN_AGAIN_MS, undefined, { signal: this.#closed.signal }).catch(() => undefined)
      }
    }
    this.#listening = forEver()
    await first.promise
  }

  /** Until the connection ends. */
  async #listenOnce(channel: string, onChange: (text: string) => void, onConnect: () => void): Promise<void> {
    const client = this.#makeClient()
    const ended = Promise.withResolvers<void>()
    client.on('error', () => ended.resolve())
    client.on('end', () => ended.resolve())
    client.on('notification', ({ payload = '' }) => onChange(payload))
    const end = () => void client.end().catch(() => undefined)
    this.#closed.signal.addEventListener('abort', end, { once: true })
    const timer = setInterval(() => {
      within(POSTGRES_STEP_MS_MAX, client.query('SELECT 1')).catch(() => {
        end()
        ended.resolve()
      })
    }, LISTEN_ASKED_MS).unref()
    try {
      await within(POSTGRES_STEP_MS_MAX, client.connect())
      await within(POSTGRES_STEP_MS_MAX, client.query(`LISTEN ${channel}`))
      onConnect()
      await ended.promise
    } finally {
      clearInterval(timer)
      this.#closed.signal.removeEventListener('abort', end)
      end()
    }
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#pool.end()
    await this.#listening
  }

  /** A connection that did not answer in time is not used again. */
  async #within<T>(patienceMs: number | undefined, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined
    let isLate = false
    const asked = async () => {
      client = await this.#pool.connect()
      if (isLate) return client.release(true) as never
      return await work(client)
    }
    try {
      const result = await (patienceMs === undefined ? asked() : within(patienceMs, asked()))
      client?.release()
      return result
    } catch (thrown) {
      isLate = true
      const error = asStoreError(thrown)
      client?.release(error instanceof StoreUnavailableError)
      throw error
    }
  }
}

/** Runs a step again that met another one: the server undid it. */
async function oncePast<T>(step: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await step()
    } catch (error) {
      if (!MET_ANOTHER.has(codeOf(error)) || attempt === ATTEMPTS_MAX) throw error
      await delay(Math.random() * ATTEMPT_PAUSE_MS_MAX * attempt)
    }
  }
}

const READING = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'

async function inTransaction<T>(
  client: pg.PoolClient,
  begin: string,
  work: (sql: Query) => Promise<T>,
): Promise<T> {
  const { sql, settled } = queryOn(client)
  await sql.run(begin)
  try {
    const result = await work(sql)
    await sql.run('COMMIT')
    return result
  } catch (error) {
    await settled()
    await sql.run('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/** Statements of one connection run one after the other, also those that are sent together. */
function queryOn(client: pg.PoolClient): { sql: Query; settled: () => Promise<unknown> } {
  let turn: Promise<unknown> = Promise.resolve()
  const send = async ({ text, values, isFixed }: Statement) => {
    const named = isFixed && values.length > 0 ? { name: nameOf(text) } : {}
    const answer = await client.query({ text, values, ...named })
    // Several statements at once answer with a list.
    const { rows = [], rowCount = 0 } = Array.isArray(answer) ? {} : answer
    return Object.assign(rows as Rows, { count: rowCount ?? 0 })
  }
  const sql = queryWith((statement) => {
    const answered = turn.then(() => send(statement))
    turn = answered.catch(() => undefined)
    return answered
  })
  return { sql, settled: () => turn }
}

const names = new Map<string, string>()

/** The server keeps the plan of a statement under its name; there are as many as the program has. */
function nameOf(text: string): string {
  let name = names.get(text)
  if (name === undefined) {
    name = `shoal_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`
    names.set(text, name)
  }
  return name
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = new AbortController()
  try {
    return await Promise.race([
      work,
      delay(ms, undefined, { signal: late.signal, ref: false }).then(() => {
        throw new StoreUnavailableError(`the database did not answer within ${ms} ms`)
      }),
    ])
  } finally {
    late.abort()
    work.catch(() => undefined)
  }
}

/** `int8` as a number: times and counters stay below 2^53. */
const TYPES = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig

/** One for each host. */
function configsOf({ place, password, authorityPem }: PostgresSettings): pg.ClientConfig[] {
  const common: pg.ClientConfig = {
    user: place.user,
    database: place.database,
    password: password ?? '',
    types: TYPES,
    keepAlive: true,
    application_name: 'shoal-tracker',
    options: `-c search_path=${SCHEMA},pg_temp`,
    statement_timeout: STATEMENT_MS_MAX,
    idle_in_transaction_session_timeout: STATEMENT_MS_MAX,
    connectionTimeoutMillis: POSTGRES_CONNECT_MS_MAX,
  }
  if (place.socket !== undefined) return [{ ...common, ...place.socket, ssl: false }]
  return place.hosts.map(({ host, port }) => ({
    ...common,
    ...{ host, port },
    ssl: {
      minVersion: 'TLSv1.2',
      ...(authorityPem === undefined ? {} : { ca: authorityPem }),
      // Without a name (for an address) TLS would compare the certificate with `localhost`.
      checkServerIdentity: (_: string, certificate: PeerCertificate) =>
        checkServerIdentity(host, certificate),
    },
  }))
}

/** Errors that say something of the database, as ours; a defect stays what it is. */
function asStoreError(error: unknown): unknown {
  if (error instanceof StoreUnavailableError || error instanceof StoreConflictError) return error
  const code = codeOf(error)
  if (code === '28P01' || code === '28000')
    return new StoreUnusableError('the database refuses this user or its password', { cause: error })
  const { message } = error as Error
  if (!UNAVAILABLE.test(code) && !UNREACHABLE.test(code) && !UNREACHABLE_WORDS.test(message)) return error
  return new StoreUnavailableError(`the database cannot be reached: ${message}`, { cause: error })
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : ''
}
