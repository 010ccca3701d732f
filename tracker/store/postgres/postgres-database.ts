import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { StoreUnavailableError } from '../../errors.ts'
import { asStoreError, hasMetAnother, isOfWholeServer } from './postgres-errors.ts'
import {
  type Hosts,
  hostsOf,
  listenHostsOf,
  POSTGRES_CONNECT_MS_MAX,
  type PostgresSettings,
} from './postgres-hosts.ts'
import { type Query, queryWith, type Rows, type Statement } from './sql.ts'

/** Connections of one tracker, besides the one that listens for changes. */
export const POSTGRES_CONNECTIONS_MAX = 8
/** How long a step may take before its request fails: nodes then pull directly. */
export const POSTGRES_STEP_MS_MAX = 5_000
/** Attempts of a step that met another one (serialisation failure, deadlock). */
const ATTEMPTS_MAX = 4
/** Pause before another attempt, by chance up to this. */
const ATTEMPT_PAUSE_MS_MAX = 20
/** Pause before the listening connection is opened again. */
const LISTEN_AGAIN_MS = 500
/** How often the listening connection is asked for an answer, so that a dead one is noticed. */
const LISTEN_ASKED_MS = 10_000

/**
 * Connections to one PostgreSQL database. Its certificate is verified against the name in the URL (`verify-full`), or the
 * server is reached by its local socket. Every step ends within POSTGRES_STEP_MS_MAX, also when the server is frozen.
 */
export class PostgresDatabase {
  /** Steps go through a pooler in transaction mode. */
  readonly isPooled: boolean
  readonly #hosts: Hosts
  readonly #listenHosts: Hosts
  readonly #closed = new AbortController()
  #pool: pg.Pool
  #renewedAtMs = Number.NEGATIVE_INFINITY
  #listening: Promise<void> | undefined
  #endListener: () => void = () => undefined

  constructor(settings: PostgresSettings) {
    this.isPooled = settings.listenPlace !== undefined
    this.#hosts = hostsOf(settings)
    this.#listenHosts = listenHostsOf(settings)
    this.#pool = this.#makePool()
  }

  #makePool(): pg.Pool {
    const hosts = this.#hosts
    class Client extends pg.Client {
      constructor() {
        super(hosts.current)
      }
    }
    const pool = new pg.Pool({
      Client,
      max: POSTGRES_CONNECTIONS_MAX,
      connectionTimeoutMillis: POSTGRES_CONNECT_MS_MAX,
      idleTimeoutMillis: 0,
      onConnect: (client) => hosts.expectPrimary(client),
    })
    // An idle connection ended: the next step opens another.
    pool.on('error', () => undefined)
    return pool
  }

  /**
   * One step: a statement, or several without a transaction.
   * @throws StoreUnavailableError
   */
  async run<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(POSTGRES_STEP_MS_MAX, async (client) => {
      const { sql, settled } = queryOn(client, this.isPooled)
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
      this.#within(POSTGRES_STEP_MS_MAX, (client) => this.#inTransaction(client, 'BEGIN', work)),
    )
  }

  /** Everything that `work` reads is of one moment. */
  async reading<T>(work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(POSTGRES_STEP_MS_MAX, (client) => this.#inTransaction(client, READING, work))
  }

  /** One transaction that may take minutes. */
  async atLength<T>(how: 'reading' | 'writing', work: (sql: Query) => Promise<T>): Promise<T> {
    return await this.#within(undefined, (client) =>
      this.#inTransaction(client, how === 'reading' ? READING : 'BEGIN', async (sql) => {
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
    const host = this.#listenHosts.current
    const client = new pg.Client(host)
    const ended = Promise.withResolvers<void>()
    const end = () => {
      if (this.#closed.signal.aborted) client.end().catch(() => undefined)
      else cut(client)
      ended.resolve()
    }
    client.on('error', end)
    client.on('end', end)
    client.on('notification', ({ payload = '' }) => onChange(payload))
    this.#endListener = end
    this.#closed.signal.addEventListener('abort', end, { once: true })
    const timer = setInterval(() => {
      within(POSTGRES_STEP_MS_MAX, client.query('SELECT 1')).catch(end)
    }, LISTEN_ASKED_MS).unref()
    const begin = async () => {
      await client.connect()
      await this.#listenHosts.expectPrimary(client)
      await client.query(`LISTEN ${channel}`)
    }
    try {
      await within(POSTGRES_STEP_MS_MAX, begin())
      onConnect()
      await ended.promise
    } catch (error) {
      this.#listenHosts.leave(host)
      throw error
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

  /** A connection that did not answer in time is not used again, and nor are the others to its server. */
  async #within<T>(patienceMs: number | undefined, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined
    let isLate = false
    const asked = async () => {
      client = await this.#connect()
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
      const isUnavailable = error instanceof StoreUnavailableError
      if (isUnavailable && client !== undefined) cut(client)
      client?.release(isUnavailable)
      if (isOfWholeServer(error)) this.#renew()
      throw error
    }
  }

  /** To the first host that takes writes. */
  async #connect(): Promise<pg.PoolClient> {
    for (let left = this.#hosts.count - 1; ; left -= 1) {
      const host = this.#hosts.current
      try {
        return await this.#pool.connect()
      } catch (error) {
        // All connections are busy: that says nothing about the host.
        if ((error as Error).message.startsWith('timeout exceeded')) throw error
        this.#hosts.leave(host)
        if (left === 0) throw error
      }
    }
  }

  /** Opens all connections anew; steps that run end as they do. Not again within a step's time: the server may only be slow. */
  #renew(): void {
    const nowMs = performance.now()
    if (this.#closed.signal.aborted || nowMs - this.#renewedAtMs < POSTGRES_STEP_MS_MAX) return
    this.#renewedAtMs = nowMs
    const before = this.#pool
    this.#pool = this.#makePool()
    before.end().catch(() => undefined)
    this.#endListener()
  }

  async #inTransaction<T>(
    client: pg.PoolClient,
    begin: string,
    work: (sql: Query) => Promise<T>,
  ): Promise<T> {
    const { sql, settled } = queryOn(client, this.isPooled)
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
}

/** Runs a step again that met another one: the server undid it. */
async function oncePast<T>(step: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await step()
    } catch (error) {
      if (!hasMetAnother(error) || attempt === ATTEMPTS_MAX) throw error
      await delay(Math.random() * ATTEMPT_PAUSE_MS_MAX * attempt)
    }
  }
}

const READING = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'

/** Ends a connection at once: a server that is cut off never answers a goodbye. */
function cut(client: pg.ClientBase): void {
  const { connection } = client as { connection?: { stream?: Socket } }
  connection?.stream?.destroy()
}

/**
 * Statements of one connection run one after the other, also those that are sent together. The next server behind a pooler
 * knows no plan of another one's.
 */
function queryOn(client: pg.PoolClient, isPooled: boolean): { sql: Query; settled: () => Promise<unknown> } {
  let turn: Promise<unknown> = Promise.resolve()
  const send = async ({ text, values, isFixed }: Statement) => {
    const named = isFixed && values.length > 0 && !isPooled ? { name: nameOf(text) } : {}
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
