import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import pg from 'pg'
import type { DatabasePlace } from '../../database-url.ts'
import { StoreUnavailableError } from '../../errors.ts'
import { SCHEMA } from './schema.ts'

/** How long a tracker waits for a connection to the database. */
export const POSTGRES_CONNECT_MS_MAX = 3_000
/** How long the server itself works on one statement, and lets a transaction stand idle. */
const STATEMENT_MS_MAX = 4_000

/** Names of temporary objects never stand for a table. */
export const SEARCH_PATH = `${SCHEMA},pg_temp`

export interface PostgresSettings {
  place: DatabasePlace
  password?: string
  /** PEM of the authorities of the server's certificate; default: the system's. */
  authorityPem?: string
  /** `place` is a pooler in transaction mode; the servers themselves are here. */
  listenPlace?: DatabasePlace
}

/**
 * The hosts of one database, of which one takes writes. Whichever did last is dialled first; a host that does not answer, is
 * a standby, or was a primary before another one was promoted, is passed over.
 */
export class Hosts {
  readonly #configs: readonly pg.ClientConfig[]
  #at = 0
  /** The newest timeline of this database that was seen; a promotion begins a new one. */
  #timeline = 0

  constructor(configs: readonly pg.ClientConfig[]) {
    this.#configs = configs
  }

  get count(): number {
    return this.#configs.length
  }

  get current(): pg.ClientConfig {
    return this.#configs[this.#at]!
  }

  /** Several steps may find at once that a host cannot be used. */
  leave(config: pg.ClientConfig): void {
    if (config === this.current) this.#at = (this.#at + 1) % this.#configs.length
  }

  /** Call it for each new connection. @throws StoreUnavailableError if the server is not the primary */
  async expectPrimary(client: pg.ClientBase): Promise<void> {
    const { rows } = await client.query(
      `SELECT pg_is_in_recovery() AS is_standby, CASE WHEN pg_is_in_recovery() THEN 0
         ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END AS timeline`,
    )
    const [{ is_standby: isStandby, timeline }] = rows as [{ is_standby: boolean; timeline: number }]
    if (isStandby || timeline < this.#timeline)
      throw new StoreUnavailableError(
        isStandby ? 'the database is a standby' : 'another database was promoted over this one',
      )
    this.#timeline = timeline
  }
}

/** `int8` as a number: times and counters stay below 2^53. */
const TYPES = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig

/** For steps. */
export function hostsOf(settings: PostgresSettings): Hosts {
  // A pooler refuses settings of a session: they would outlive the transaction.
  return new Hosts(configsOf(settings, settings.listenPlace === undefined ? SESSION : {}))
}

/** For the connection that listens. */
export function listenHostsOf(settings: PostgresSettings): Hosts {
  const { listenPlace: place = settings.place } = settings
  return new Hosts(configsOf({ ...settings, place }, { ...SESSION, application_name: LISTENER }))
}

/** In `pg_stat_activity`. */
export const LISTENER = 'shoal-tracker listens'

const SESSION: pg.ClientConfig = {
  options: `-c search_path=${SEARCH_PATH}`,
  statement_timeout: STATEMENT_MS_MAX,
  idle_in_transaction_session_timeout: STATEMENT_MS_MAX,
}

/** One for each host. */
function configsOf(
  { place, password, authorityPem }: PostgresSettings,
  session: pg.ClientConfig,
): pg.ClientConfig[] {
  const common: pg.ClientConfig = {
    user: place.user,
    database: place.database,
    password: password ?? '',
    types: TYPES,
    keepAlive: true,
    application_name: 'shoal-tracker',
    connectionTimeoutMillis: POSTGRES_CONNECT_MS_MAX,
    ...session,
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
