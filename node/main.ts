import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { type Client, type ClientOptions, startClient } from '../client/index.ts'
import { Conditions } from '../core/conditions.ts'
import { ConfigError, ensureDataDir, type ListenAddress, readSecretFile } from '../core/config.ts'
import { lockDataDir } from '../core/data-lock.ts'
import { Defects, defectCounter } from '../core/defects.ts'
import { clusterOfJoinToken } from '../core/join-token.ts'
import { createMetrics } from '../core/metrics.ts'
import {
  closeRegistries,
  openRegistries,
  type RegistryClient,
  type RegistryClients,
} from '../core/registry-client.ts'
import { registryConfig } from '../core/registry-config.ts'
import { DOCKER_HUB, type RegistryHost } from '../core/repository.ts'
import { ProxyAuthority } from '../proxy/intercept/authority.ts'
import { loopbackAddress } from '../proxy/loopback-listener.ts'
import { startProxy } from '../proxy/proxy.ts'
import { KernelSocketOwners } from '../proxy/socket-owner.ts'
import { TrustFiles } from '../proxy/trust-files.ts'
import { startAdmin } from './admin.ts'
import type { NodeConfig } from './config.ts'
import { blobMetrics } from './metrics.ts'

/** Often enough, because the steps are days apart. */
const AUTHORITY_CHECK_MS = 3_600_000

export interface RunningNode {
  readonly proxyAddress: ListenAddress
  readonly peerAddress: ListenAddress
  readonly adminAddress: ListenAddress
  readonly defects: Defects
  close(): Promise<void>
}

/**
 * Starts `shoal node`: the client that transfers blobs, and the proxy through which this machine pulls them.
 * @param start tests pass their own client
 * @throws ShoalError with a hint if it cannot start; it first closes the parts that were started
 */
export async function startNode(
  config: NodeConfig,
  log: Logger,
  start: (options: ClientOptions) => Promise<Client> = startClient,
): Promise<RunningNode> {
  // Do this before anything calls the tracker, so that a mistake in the configuration is reported as such.
  await loopbackAddress(config.proxyListen.host, 'proxyListen')
  await loopbackAddress(config.adminListen.host, 'adminListen')
  ensureDataDir(config.dataDir)
  const parts = new AsyncDisposableStack()
  try {
    parts.defer(lockDataDir(config.dataDir))
    const registries = new Map(openRegistries(config.registries))
    parts.defer(() => closeRegistries(registries))
    const metrics = createMetrics({ process: true })
    const defects = new Defects({ log, count: defectCounter(metrics) })
    const conditions = new Conditions({ log })
    const client = await start({ ...clientOptions(config, registries, log), conditions, defects })
    parts.defer(() => client.close())
    if (config.registriesFromTracker) interceptNamed(registries, client, conditions)
    if (registries.size === 0) conditions.raise('NO_REGISTRIES')
    if (registries.has(DOCKER_HUB)) conditions.raise('DOCKER_HUB_NEEDS_MIRROR')
    blobMetrics(metrics, client)
    const authority = await ProxyAuthority.make([...registries.keys()])
    const certificatesPem = () => authority.certificatesPem
    const owners = new KernelSocketOwners()
    const admin = await startAdmin({
      listen: config.adminListen,
      client,
      metrics,
      owners,
      certificatesPem,
      log,
      defects,
    })
    parts.defer(() => admin.close())
    const trust = new TrustFiles({
      dataDir: config.dataDir,
      dockerCertsDir: config.dockerCertsDir,
      registries: registries.keys(),
    })
    parts.defer(() => trust.remove())
    parts.defer(keepAuthorityFresh(authority, trust, log))
    const proxy = await startProxy({
      listen: config.proxyListen,
      p2pMinBytes: config.p2pMinBytes,
      permitLinkLocal: config.permitLinkLocal,
      permittedTargets: config.permittedTargets,
      deniedPorts: [admin.address.port, client.peerAddress.port],
      publish: (pem) => trust.put(pem),
      owners,
      client,
      registries,
      authority,
      metrics,
      conditions,
      log,
      defects,
    })
    parts.defer(() => proxy.close())
    const addresses = {
      proxyAddress: proxy.address,
      peerAddress: client.peerAddress,
      adminAddress: admin.address,
    }
    log.info({ ...addresses, registries: [...registries.keys()] }, 'the node is ready')
    return { ...addresses, defects, close: () => parts.disposeAsync() }
  } catch (error) {
    await parts.disposeAsync()
    throw error
  }
}

/** Adds the registries that the tracker names, with this node's consent: only their hosts come from there. */
function interceptNamed(
  registries: Map<RegistryHost, RegistryClient>,
  client: Client,
  conditions: Conditions,
): void {
  const added = client.registriesNamed().filter((host) => !registries.has(host))
  for (const [host, registry] of openRegistries(added.map((host) => registryConfig.parse({ host })))) {
    registries.set(host, registry)
    conditions.raise('REGISTRIES_FROM_TRACKER', host)
  }
  client.registriesChanged()
}

function clientOptions(config: NodeConfig, registries: RegistryClients, log: Logger): ClientOptions {
  return {
    trackerUrl: config.trackerUrl,
    dataDir: config.dataDir,
    peerListen: config.peerListen,
    cacheBytesMax: config.cacheBytesMax,
    uploadBytesPerSecondMax: config.uploadBytesPerSecondMax,
    downloadBytesPerSecondMax: config.downloadBytesPerSecondMax,
    trackerPatienceMs: config.trackerPatienceMs,
    registries,
    registriesFromTracker: config.registriesFromTracker,
    log,
    ...cacheSecretOf(config.cacheKeyFile),
    ...(config.trackerCaFile === undefined ? {} : { trackerCaPem: readBundle(config.trackerCaFile) }),
    ...(config.joinTokenFile === undefined ? {} : { joinToken: readJoinToken(config.joinTokenFile) }),
  }
}

const CACHE_KEY = /^SHOALKEY-1-([A-Za-z0-9_-]{43})$/

function cacheSecretOf(cacheKeyFile: string): Pick<ClientOptions, 'cacheSecret'> {
  if (cacheKeyFile === 'none') return {}
  if (cacheKeyFile === 'memory') return { cacheSecret: randomBytes(32) }
  const [, key] = CACHE_KEY.exec(readSecretFile(cacheKeyFile, 'cacheKeyFile')) ?? []
  if (key === undefined) {
    const hint = 'A key is one line, SHOALKEY-1-…; `shoal certs unlock-key --out <file>` makes one.'
    throw new ConfigError(`cacheKeyFile: ${cacheKeyFile} holds no key`, { hint })
  }
  return { cacheSecret: Buffer.from(key, 'base64url') }
}

function readJoinToken(path: string): string {
  const joinToken = readSecretFile(path, 'joinTokenFile')
  if (clusterOfJoinToken(joinToken) === undefined) {
    const hint =
      'A join token is one line, SHOAL-1-…, as `shoal admin cluster create` or `shoal admin token rotate` printed it.'
    throw new ConfigError(`joinTokenFile: ${path} holds no join token`, { hint })
  }
  return joinToken
}

function readBundle(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const hint =
      'The file must contain the PEM certificates of the authority that signed the tracker’s certificate.'
    throw new ConfigError(`trackerCaFile: cannot read ${path}`, { cause, hint })
  }
}

/** Replaces the authority before it ends, because a process may run for weeks. */
function keepAuthorityFresh(authority: ProxyAuthority, trust: TrustFiles, log: Logger): () => void {
  const renew = async () => {
    if (!(await authority.renewWhenDue())) return
    trust.put(authority.certificatesPem)
    log.info('the proxy changed its authority')
  }
  const timer = setInterval(() => {
    renew().catch((err: unknown) => log.error({ err }, 'the proxy cannot change its authority'))
  }, AUTHORITY_CHECK_MS)
  return () => clearInterval(timer)
}
