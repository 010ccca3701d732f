import { z } from 'zod'
import { ConfigError, listenAddress } from '../core/config.ts'
import { TRACKERS_MAX, trackerAddress } from '../core/join-string.ts'
import { LOG_LEVELS } from '../core/log.ts'
import { isLoopbackHost } from '../core/network.ts'
import { type RegistryConfig, registriesConfig } from '../core/registry-config.ts'
import { upstreamProxyConfig } from '../core/upstream-proxy-config.ts'
import { isAddressRange } from './address-ranges.ts'
import { readDatabaseUrl } from './database-url.ts'
import { TlsFiles } from './tls-files.ts'

const path = z.string().min(1).max(4096)

const CERTIFICATE_OF_OPEN_REGISTRY =
  'a registry of kind none has a clientCertFile: with it every member of a cluster would be given what only this tracker may read; remove kind, or the certificate'

/** The registry asks for this process's certificate and for nothing of the caller. */
function opensToAll({ kind, clientCertFile }: RegistryConfig): boolean {
  return kind === 'none' && clientCertFile !== undefined
}

function isPostgresUrl(text: string): boolean {
  try {
    return readDatabaseUrl(text) !== undefined
  } catch {
    return false
  }
}

/** All settings of `shoal tracker` (docs/config.md). */
export const trackerConfig = z.strictObject({
  listen: listenAddress.prefault('0.0.0.0:7443').describe('Address where nodes reach the tracker (HTTPS).'),
  adminListen: listenAddress
    .prefault('127.0.0.1:7444')
    .describe(
      'Address for the admin API, /metrics and /healthz (HTTPS). Callers need a token or a certificate; /metrics needs none on loopback, and /healthz nowhere.',
    ),
  adminTlsCertFile: path
    .optional()
    .describe(
      "PEM file with the admin listener's TLS certificate and its chain. Absent: one of the tracker's own admin authority, for localhost.",
    ),
  adminTlsKeyFile: path.optional().describe("PEM file with that certificate's private key."),
  advertise: z
    .array(trackerAddress)
    .max(TRACKERS_MAX)
    .default([])
    .describe(
      'Where nodes reach this tracker, for the join strings of `shoal admin token create`: tracker.example.com:7443.',
    ),
  balancers: z
    .array(
      z
        .string()
        .max(64)
        .refine(isAddressRange, 'expected an address or a range, such as 10.0.0.5 or 10.0.0.0/24'),
    )
    .max(64)
    .default([])
    .describe(
      'Balancers in front of `listen`, by address or CIDR range. Each begins every connection with a header of the PROXY protocol, version 2, whose source address then counts as the caller. A connection of a balancer without one is refused. So is a connection from anywhere else that begins with one: there TLS must come first.',
    ),
  tlsCertFile: path.describe(
    "PEM file with the tracker's TLS certificate and its chain; for join strings, the last certificate must be its authority.",
  ),
  tlsKeyFile: path.describe("PEM file with the TLS certificate's private key."),
  dataDir: path
    .default('/var/lib/shoal-tracker')
    .describe('Folder for the database and the socket that `shoal admin` uses.'),
  databaseUrl: z
    .string()
    .max(4096)
    .refine(isPostgresUrl, {
      error:
        'expected postgres://user@host[:port][,host…]/database, or …@/database?host=/run/postgresql; no password',
    })
    .optional()
    .describe(
      'PostgreSQL database for the state, which several trackers may share: postgres://shoal_tracker@db.example.com/shoal. Absent: a file in the data folder.',
    ),
  databaseListenUrl: z
    .string()
    .max(4096)
    .refine(isPostgresUrl, { error: 'expected a URL as for databaseUrl' })
    .optional()
    .describe(
      'The database itself, where databaseUrl leads to a pooler in transaction mode (pgbouncer): for the one connection on which a tracker hears of changes. Absent: databaseUrl.',
    ),
  databasePasswordFile: path.optional().describe("File with the database role's password."),
  databaseCaFile: path
    .optional()
    .describe("PEM authorities of the database server's certificate; absent: the system's."),
  unlockKeyFile: path
    .optional()
    .describe(
      'File with the unlock key (SHOALKEY-1-…) that opens the sealed secrets. Without it the tracker starts locked and waits for `shoal tracker unlock`.',
    ),
  registries: registriesConfig
    .refine((registries) => !registries.some(opensToAll), CERTIFICATE_OF_OPEN_REGISTRY)
    .default([])
    .describe(
      'Registries for which the tracker grants pulls, as in image names: registry.example.com,other.example.com:5000.',
    ),
  pullCertificateSeconds: z
    .int()
    .min(60)
    .max(6 * 3600)
    .default(1800)
    .describe('Life of a pull certificate; the node renews it before it ends.'),
  leaseSeconds: z
    .int()
    .min(1)
    .max(600)
    .default(10)
    .describe('An origin lease that makes no progress for this long goes to another node.'),
  heartbeatSeconds: z
    .int()
    .min(1)
    .max(300)
    .default(5)
    .describe('Time between the heartbeats of a node; after 3 missed ones the tracker takes it for gone.'),
  requestsPerSecondMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(250)
    .describe(
      'Average requests per second of one node (or, without a certificate, of one address); 0: no limit.',
    ),
  requestsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .describe('Requests that a node may send in a burst after a quiet time.'),
  requestsConcurrentMax: z
    .int()
    .min(0)
    .max(100_000)
    .default(64)
    .describe('Requests of one node (or address) in flight; 0: no limit.'),
  pullsPerMinuteMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(15)
    .describe(
      'Average pulls (one per image) granted to one node per minute; each takes a few rows of the database; 0: no limit.',
    ),
  pullsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(256)
    .describe('Pulls granted to a node in a burst after a quiet time.'),
  joinsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .describe(
      'New nodes that may join in a burst from one address (IPv6: /64). All nodes that share an address join again together after an authority leaked. One join token permits 8 times as many.',
    ),
  joinsPerHourMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(600)
    .describe(
      'Average new nodes that may join from one address per hour; each takes a row of the database. One join token permits 4 times as many. 0: no limit.',
    ),
  silentNodeHoursMax: z
    .int()
    .min(25)
    .max(10 * 365 * 24)
    .default(7 * 24)
    .describe(
      'The tracker forgets a node that has not renewed its certificate for this many hours. After 24 the node must join again anyway.',
    ),
  ...upstreamProxyConfig,
  logLevel: z
    .enum(LOG_LEVELS)
    .default('info')
    .describe(
      'Log this and everything more serious: fatal, error, warn, info, debug, trace; silent for nothing.',
    ),
})

export type TrackerConfig = z.output<typeof trackerConfig>

/** The certificate for nodes. @throws ConfigError */
export function nodeTlsFiles({ tlsCertFile, tlsKeyFile }: TrackerConfig): TlsFiles {
  return new TlsFiles({
    certFile: { name: 'tlsCertFile', path: tlsCertFile },
    keyFile: { name: 'tlsKeyFile', path: tlsKeyFile },
  })
}

/** The certificate for administrators, if it is not of the tracker's own making. @throws ConfigError */
export function adminTlsFiles(config: TrackerConfig): TlsFiles | undefined {
  const { adminListen, adminTlsCertFile: cert, adminTlsKeyFile: key } = config
  if (cert !== undefined && key !== undefined) {
    return new TlsFiles({
      certFile: { name: 'adminTlsCertFile', path: cert },
      keyFile: { name: 'adminTlsKeyFile', path: key },
    })
  }
  if (cert !== undefined || key !== undefined) {
    throw new ConfigError('adminTlsCertFile and adminTlsKeyFile belong together', {
      hint: 'Set both, or none.',
    })
  }
  if (!isLoopbackHost(adminListen.host)) {
    throw new ConfigError('adminListen is reached from other machines, and has no certificate for them', {
      hint: 'Listen on 127.0.0.1. A tracker without `shoal up` may have adminTlsCertFile and adminTlsKeyFile instead.',
    })
  }
  return undefined
}
