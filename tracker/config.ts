import { z } from 'zod'
import { listenAddress, readSecretFile } from '../core/config.ts'
import { LOG_LEVELS } from '../core/log.ts'
import { isLoopbackHost } from '../core/network.ts'
import { registriesConfig } from '../core/registry-config.ts'

const path = z.string().min(1).max(4096)
const ADMIN_ON_LOOPBACK = 'the admin API listens on loopback addresses only'

/** Everything that can be set for `shoal tracker`. */
export const trackerConfig = z.strictObject({
  listen: listenAddress.prefault('0.0.0.0:7443').describe('Where nodes reach the tracker (HTTPS).'),
  adminListen: listenAddress
    .refine(({ host }) => isLoopbackHost(host), ADMIN_ON_LOOPBACK)
    .prefault('127.0.0.1:7444')
    .describe('Where the admin API, /metrics and /healthz listen: loopback only.'),
  tlsCertFile: path.describe("PEM file with the tracker's TLS certificate and its chain."),
  tlsKeyFile: path.describe("PEM file with the TLS certificate's private key."),
  dataDir: path
    .default('/var/lib/shoal-tracker')
    .describe('Folder for the database, and the socket that `shoal certs` talks to.'),
  unlockKeyFile: path
    .optional()
    .describe(
      'File with the unlock key (SHOALKEY-1-…) that opens the sealed secrets; absent: the tracker starts locked, and waits for `shoal certs unlock`.',
    ),
  registries: registriesConfig
    .default([])
    .describe(
      'Registries that pulls are granted for, as in image names: registry.example.com,other.example.com:5000.',
    ),
  pullCertificateSeconds: z
    .int()
    .min(60)
    .max(6 * 3600)
    .default(1800)
    .describe('How long a pull certificate lasts before it must be renewed.'),
  leaseSeconds: z
    .int()
    .min(1)
    .max(600)
    .default(10)
    .describe('An origin lease without progress for this long goes to another node.'),
  heartbeatSeconds: z
    .int()
    .min(1)
    .max(300)
    .default(5)
    .describe('How often nodes report; 3 missed and a node is gone.'),
  requestsPerSecondMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(250)
    .describe(
      'Requests per second of one node (or, without a certificate, of one address) in the long run; 0: no limit.',
    ),
  requestsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .describe('Requests that a node may make at once after a quiet time, before that rate holds.'),
  requestsConcurrentMax: z
    .int()
    .min(0)
    .max(100_000)
    .default(64)
    .describe('Requests of one node (or address) that may be under way; 0: no limit.'),
  pullsPerMinuteMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(15)
    .describe(
      'Pulls (one per image) granted to one node per minute in the long run: each is some rows of the database; 0: no limit.',
    ),
  pullsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(256)
    .describe('Pulls granted to a node at once after a quiet time, before that rate holds.'),
  joinsBurstMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .describe(
      'New nodes that one address (IPv6: /64) may join at once: all that share it, which join again together after an authority leaked; 8 times as many with one join token.',
    ),
  joinsPerHourMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(600)
    .describe(
      'New nodes that one address may join per hour in the long run, and 4 times as many with one join token: each is a row of the database; 0: no limit.',
    ),
  silentNodeHoursMax: z
    .int()
    .min(25)
    .max(10 * 365 * 24)
    .default(7 * 24)
    .describe(
      'A node that has not renewed its certificate for so many hours is forgotten; after 24 it must join again anyway.',
    ),
  logLevel: z.enum(LOG_LEVELS).default('info').describe('Least severe level that is logged.'),
})

export type TrackerConfig = z.output<typeof trackerConfig>

/** @throws ConfigError */
export function readTlsFiles({ tlsCertFile, tlsKeyFile }: TrackerConfig) {
  return {
    certificatePem: readSecretFile(tlsCertFile, 'tlsCertFile'),
    privateKeyPem: readSecretFile(tlsKeyFile, 'tlsKeyFile'),
  }
}
