import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { isIP } from 'node:net'
import { join, resolve } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { readTextFile, writeNewFiles } from '../certs-tool/key-files.ts'
import { newClusterId, newJoinToken, newUnlockKey } from '../certs-tool/secrets.ts'
import {
  chainOf,
  issueTrackerTls,
  makeLabAuthority,
  ownHostNames,
} from '../certs-tool/tracker-certificates.ts'
import { ConfigError, ensureDataDir, listenAddress } from '../core/config.ts'
import { clusterOfJoinToken, joinTokenHash } from '../core/join-token.ts'
import { addressText, isLoopbackHost } from '../core/network.ts'
import { UP_DATA_DIR, UP_NODE_DIR, UP_TRACKER_DIR } from '../core/up-folders.ts'
import { type NodeConfig, nodeConfig } from '../node/config.ts'
import { type RunningNode, startNode } from '../node/main.ts'
import type { StartedBy } from '../node/started-by.ts'
import { type TrackerConfig, trackerConfig } from '../tracker/config.ts'
import { type RunningTracker, startTracker } from '../tracker/main.ts'
import { ownAddresses } from './own-addresses.ts'
import { upGuide } from './up-guide.ts'

/** Tracker and node in one process, for one machine: everything that they need is made at the first start. */

const { proxyListen, mirrorListen, adminListen, registries, dockerCertsDir, authorityFile } = nodeConfig.shape
const { p2pMinBytes, cacheBytesMax, logLevel } = nodeConfig.shape

export const upConfig = z.strictObject({
  // The tracker's rules hold; the text is the node's.
  registries: trackerConfig.shape.registries.describe(registries.description ?? ''),
  dataDir: z
    .string()
    .min(1)
    .max(4096)
    .default(UP_DATA_DIR)
    .describe('Folder for the data and the keys of tracker and node.'),
  listen: listenAddress
    .prefault('127.0.0.1:7443')
    .describe('Where nodes reach the tracker; 0.0.0.0:7443 lets other machines join.'),
  advertiseHost: z
    .string()
    .min(1)
    .max(253)
    .optional()
    .describe('Name or address under which other machines reach this one; absent: the first address it has.'),
  peerListen: listenAddress
    .optional()
    .describe('Where other nodes reach this one; absent: port 7071, on loopback when `listen` is.'),
  proxyListen,
  mirrorListen,
  adminListen,
  trackerAdminListen: listenAddress
    .refine(
      ({ host }) => isLoopbackHost(host),
      'the admin API of `shoal up` listens on loopback addresses only',
    )
    .prefault('127.0.0.1:7444')
    .describe("Address for the tracker's admin API, /metrics and /healthz (HTTPS); loopback only."),
  dockerCertsDir,
  authorityFile,
  p2pMinBytes,
  cacheBytesMax,
  logLevel,
})

export type UpConfig = z.output<typeof upConfig>

export interface RunningUp {
  tracker: RunningTracker
  node: RunningNode
  /** Of the node; the tracker counts its own. */
  defects: RunningNode['defects']
  close(): Promise<void>
}

const PEER_PORT = 7071
const CLUSTER_NAME = 'main'
/** A certificate that ends sooner is replaced at the start. */
const TRACKER_TLS_LEFT_MS_MIN = 30 * 24 * 3600 * 1000

/** Everything in the data folder. `authority.crt` and `join-token` are what other machines need. */
interface UpFiles {
  authorityCertificate: string
  authorityKey: string
  trackerCertificate: string
  trackerKey: string
  unlockKey: string
  joinToken: string
  trackerDir: string
  nodeDir: string
}

/**
 * @param print takes the guide of what to do next
 * @throws ShoalError with a hint when a part cannot start; what had been started is then closed again
 */
export async function startUp(
  config: UpConfig,
  log: Logger,
  { configFile, recentLog }: Pick<StartedBy, 'configFile' | 'recentLog'> = {},
  print: (text: string) => void = (text) => process.stdout.write(text),
): Promise<RunningUp> {
  ensureDataDir(config.dataDir)
  const files = filesIn(resolve(config.dataDir))
  await ensureTrackerTls(files, trackerNames(config))
  if (!existsSync(files.unlockKey)) writeSecret(files.unlockKey, newUnlockKey())
  const parts = new AsyncDisposableStack()
  try {
    const tracker = await startTracker(trackerSettings(config, files), log.child({ part: 'tracker' }))
    parts.defer(() => tracker.close())
    if (tracker.clusterIds().length === 0) await createFirstCluster(tracker, files)
    await removeStaleJoinToken(tracker, files, log)
    tracker.onClustersChange(() => {
      removeStaleJoinToken(tracker, files, log).catch((err: unknown) =>
        log.warn({ err }, 'cannot remove a join token that was replaced'),
      )
    })
    const trackerUrl = urlOf(advertisedHost(config), tracker.address.port)
    const settings = nodeSettings(config, files, trackerUrl)
    const startedBy: StartedBy = { program: 'up', configFile, recentLog }
    const node = await startNode(settings, log.child({ part: 'node' }), undefined, startedBy)
    parts.defer(() => node.close())
    print(guideText(config, files, { trackerUrl, node, cluster: tracker.clusterIds()[0] ?? '' }))
    return { tracker, node, defects: node.defects, close: () => parts.disposeAsync() }
  } catch (error) {
    await parts.disposeAsync()
    throw error
  }
}

function filesIn(dataDir: string): UpFiles {
  return {
    authorityCertificate: join(dataDir, 'authority.crt'),
    authorityKey: join(dataDir, 'authority.key'),
    trackerCertificate: join(dataDir, 'tracker.crt'),
    trackerKey: join(dataDir, 'tracker.key'),
    unlockKey: join(dataDir, 'unlock.key'),
    joinToken: join(dataDir, 'join-token'),
    trackerDir: join(dataDir, UP_TRACKER_DIR),
    nodeDir: join(dataDir, UP_NODE_DIR),
  }
}

/** New when there is none, when it ends soon, or when this machine is reached under a name that it does not carry. */
async function ensureTrackerTls(files: UpFiles, names: string[]): Promise<void> {
  if (!existsSync(files.authorityCertificate)) {
    const made = await makeLabAuthority()
    writeSecret(files.authorityKey, made.privateKeyPem)
    writePublic(files.authorityCertificate, made.certificatePem)
  }
  if (isTrackerTlsUsable(files, names)) return
  const authority = {
    certificatePem: readTextFile(files.authorityCertificate),
    privateKeyPem: readTextFile(files.authorityKey),
  }
  const issued = await issueTrackerTls(authority, { names })
  writeSecret(files.trackerKey, issued.privateKeyPem)
  writePublic(files.trackerCertificate, chainOf(issued, authority))
}

function isTrackerTlsUsable(files: UpFiles, names: string[]): boolean {
  if (!existsSync(files.trackerCertificate) || !existsSync(files.trackerKey)) return false
  const certificate = new X509Certificate(readFileSync(files.trackerCertificate))
  const authority = new X509Certificate(readFileSync(files.authorityCertificate))
  const carries = (name: string) =>
    (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined
  const leftMs = certificate.validToDate.getTime() - Date.now()
  return certificate.verify(authority.publicKey) && leftMs > TRACKER_TLS_LEFT_MS_MIN && names.every(carries)
}

/** The token is on disk before the cluster exists: a crash between the two must not lose it. */
async function createFirstCluster(tracker: RunningTracker, files: UpFiles): Promise<void> {
  if (!existsSync(files.joinToken)) writeSecret(files.joinToken, newJoinToken(newClusterId()))
  const joinToken = readTextFile(files.joinToken).trim()
  const cluster = clusterOfJoinToken(joinToken)
  if (cluster === undefined) {
    throw new ConfigError(`${files.joinToken} holds no join token`, { hint: 'Remove it and start again.' })
  }
  await tracker.createCluster({ cluster, name: CLUSTER_NAME, joinTokenHash: joinTokenHash(joinToken) })
}

/**
 * The tracker knows which join token counts; the file is a copy for people. One that was replaced opens nothing, and would
 * only mislead whoever copies it.
 */
async function removeStaleJoinToken(tracker: RunningTracker, files: UpFiles, log: Logger): Promise<void> {
  if (!existsSync(files.joinToken)) return
  const joinToken = readTextFile(files.joinToken).trim()
  const cluster = clusterOfJoinToken(joinToken)
  if (cluster !== undefined && (await tracker.isJoinTokenLive(cluster, joinTokenHash(joinToken)))) return
  rmSync(files.joinToken, { force: true })
  log.info({ path: files.joinToken }, 'removed a join token that was replaced')
}

function trackerSettings(config: UpConfig, files: UpFiles): TrackerConfig {
  const { listen, trackerAdminListen, registries, logLevel } = config
  const defaults = trackerConfig.parse({
    tlsCertFile: files.trackerCertificate,
    tlsKeyFile: files.trackerKey,
    dataDir: files.trackerDir,
    unlockKeyFile: files.unlockKey,
  })
  // With port 0 nobody knows it before the start.
  const advertise =
    listen.port === 0 ? [] : [addressText({ host: advertisedHost(config), port: listen.port })]
  return { ...defaults, listen, adminListen: trackerAdminListen, advertise, registries, logLevel }
}

function nodeSettings(config: UpConfig, files: UpFiles, trackerUrl: string): NodeConfig {
  const { proxyListen, mirrorListen, adminListen, registries, dockerCertsDir, authorityFile } = config
  const { p2pMinBytes, cacheBytesMax, logLevel } = config
  const peerHost = isLoopbackHost(config.listen.host) ? '127.0.0.1' : '0.0.0.0'
  const defaults = nodeConfig.parse({
    trackerUrl,
    trackerCaFile: files.authorityCertificate,
    ...(existsSync(files.joinToken) ? { joinTokenFile: files.joinToken } : {}),
    dataDir: files.nodeDir,
  })
  return {
    ...defaults,
    ...{ proxyListen, mirrorListen, adminListen, registries, dockerCertsDir },
    ...{ p2pMinBytes, cacheBytesMax, logLevel },
    ...(authorityFile === undefined ? {} : { authorityFile }),
    peerListen: config.peerListen ?? { host: peerHost, port: PEER_PORT },
  }
}

function guideText(
  config: UpConfig,
  files: UpFiles,
  up: { trackerUrl: string; node: RunningNode; cluster: string },
): string {
  return upGuide({
    trackerUrl: up.trackerUrl,
    proxy: up.node.proxyAddress,
    admin: up.node.adminAddress,
    dataDir: resolve(config.dataDir),
    nodeDir: files.nodeDir,
    trackerDir: files.trackerDir,
    registries: config.registries.map(({ host }) => host),
    isLocalOnly: isLoopbackHost(config.listen.host),
  })
}

/**
 * The local node connects there too, not to loopback: the tracker lists nodes at the address that their connection
 * comes from, and others must be able to reach it.
 */
function advertisedHost({ listen, advertiseHost }: UpConfig): string {
  if (advertiseHost !== undefined) return advertiseHost
  return isWildcard(listen.host) ? (ownAddresses()[0] ?? '127.0.0.1') : listen.host
}

function trackerNames(config: UpConfig): string[] {
  const addresses = isWildcard(config.listen.host) ? ownAddresses() : []
  return [...new Set([advertisedHost(config), ...addresses, ...ownHostNames()])]
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function urlOf(host: string, port: number): string {
  return `https://${addressText({ host, port })}`
}

function writeSecret(path: string, content: string): void {
  writeNewFiles([{ path, content, isSecret: true }], true)
}

function writePublic(path: string, content: string): void {
  writeNewFiles([{ path, content, isSecret: false }], true)
}
