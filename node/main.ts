import { join } from 'node:path'
import type { Logger } from 'pino'
import { type Client, type ClientOptions, startClient } from '../client/index.ts'
import { Conditions } from '../core/conditions.ts'
import { ConfigError, ensureDataDir, type ListenAddress } from '../core/config.ts'
import type { Consent } from '../core/consent.ts'
import { readOwnFile, replaceFile } from '../core/data-folder.ts'
import { lockDataDir } from '../core/data-lock.ts'
import { Defects, defectCounter } from '../core/defects.ts'
import { type GuardLine, guardLine } from '../core/guard-line.ts'
import { collectWhenIdle } from '../core/idle-memory.ts'
import { createMetrics, type Metrics } from '../core/metrics.ts'
import {
  closeRegistries,
  openRegistries,
  type RegistryClient,
  type RegistrySurroundings,
} from '../core/registry-client.ts'
import { certsDirsOf } from '../core/registry-trust.ts'
import type { RegistryHost } from '../core/repository.ts'
import type { UpstreamProxy } from '../core/upstream-proxy.ts'
import { upstreamProxyOf } from '../core/upstream-proxy-config.ts'
import { ProxyAuthority } from '../proxy/intercept/authority.ts'
import { loopbackAddress } from '../proxy/loopback-listener.ts'
import type { MirrorPlace } from '../proxy/mirror-place.ts'
import { checkMirrorPlaces, type MirrorSocket } from '../proxy/mirror-place.ts'
import { askOwner } from '../proxy/owner-question.ts'
import { type RunningProxy, startProxy } from '../proxy/proxy.ts'
import { KernelSocketOwners } from '../proxy/socket-owner.ts'
import { AUTHORITY_FILE_NAME, TrustFiles } from '../proxy/trust-files.ts'
import { readConsent, withAttached } from './attached.ts'
import { type ChangeParts, noteRegistries, prepareSettings } from './change-settings.ts'
import { clientOptions } from './client-options.ts'
import type { NodeConfig } from './config.ts'
import { followConsent } from './follow-consent.ts'
import { ImagesSeen } from './images-seen.ts'
import { interceptNamed } from './intercept-named.ts'
import { nodeMetrics } from './metrics.ts'
import { startPages } from './pages.ts'
import { Pause } from './pause.ts'
import { refuseProxyLoop } from './proxy-loop.ts'
import { PullHistory } from './pull-history.ts'
import { Reload, type Reloaded, type Reloading } from './reload.ts'
import type { StartedBy } from './started-by.ts'

/** Often enough, because the steps are days apart. */
const AUTHORITY_CHECK_MS = 3_600_000

/** Has the time of the last start. */
const LAST_RUN_FILE = 'last-start'

export interface RunningNode {
  readonly proxyAddress: ListenAddress
  readonly mirrorSockets: readonly MirrorSocket[]
  readonly peerAddress: ListenAddress
  readonly adminAddress: ListenAddress
  /** Path of the local API's socket. */
  readonly localSocket: string
  readonly metricsAddress: ListenAddress | undefined
  readonly defects: Defects
  /** Reads the settings again. @throws ShoalError if they cannot be used; nothing is changed then */
  reload(): Promise<Reloaded>
  close(): Promise<void>
}

/** What every part tells its state to. */
interface Told {
  metrics: Metrics
  defects: Defects
  conditions: Conditions
  log: Logger
}

/** All that the pages and the proxy are built from. */
interface NodeParts extends Told {
  config: NodeConfig
  startedBy: StartedBy
  startedMs: number
  upstreamProxy: UpstreamProxy | undefined
  registries: Map<RegistryHost, RegistryClient>
  client: Client
  history: PullHistory
  images: ImagesSeen
  reload: Reloading
  authority: ProxyAuthority
  owners: KernelSocketOwners
  pause: Pause
  /** Who owns the proxy's socket, if this process does not. */
  guard: GuardLine | undefined
}

/**
 * Starts `shoal node`: the client that transfers blobs, and the proxy through which this machine pulls them.
 * @param start tests pass their own client
 * @throws ShoalError with a hint if it cannot start; it first closes the parts that were started
 */
export async function startNode(
  settings: NodeConfig,
  log: Logger,
  start: (options: ClientOptions) => Promise<Client> = startClient,
  startedBy: StartedBy = { program: 'node' },
): Promise<RunningNode> {
  const startedMs = Date.now()
  const { reread = () => settings } = startedBy
  const consent = readConsent(settings.attachedDir)
  const config = withAttached(settings, consent, process.env)
  // Do this before anything calls the tracker, so that a mistake in the configuration is reported as such.
  await loopbackAddress(config.proxyListen.host, 'proxyListen')
  await loopbackAddress(config.adminListen.host, 'adminListen')
  await checkMirrorPlaces(config.mirrorListen)
  refuseUnknownMirror(config)
  ensureDataDir(config.dataDir)
  const closing = new AsyncDisposableStack()
  try {
    closing.defer(lockDataDir(config.dataDir))
    const told = toldOf(log)
    const { metrics, defects, conditions } = told
    const surroundings = await surroundingsOf(config, conditions)
    const upstreamProxy = surroundings.proxy
    const registries = new Map(openRegistries(config.registries, surroundings))
    closing.defer(() => closeRegistries(registries))
    const guard = guardLine(process.env)
    if (guard !== undefined) closing.defer(() => guard.close())
    const pause = new Pause({ dataDir: config.dataDir, conditions, log })
    closing.defer(() => pause.close())
    const client = await start({
      ...clientOptions(config, registries, log),
      onTrackerPause: (isPaused) => pause.trackerSays(isPaused),
      upstreamProxy,
      conditions,
      defects,
    })
    closing.defer(() => client.close())
    if (config.registriesFromTracker) interceptNamed({ registries, surroundings, client, conditions })
    noteRegistries(registries, conditions)
    const history = openHistory(config, client, log)
    closing.defer(() => history.close())
    nodeMetrics(metrics, { client, conditions, records: history.records })
    const authority = await ProxyAuthority.make([...registries.keys()], {
      kept: (await guard?.kept()) ?? '',
      keep: (text) => guard?.keep(text),
    })
    const owners = new KernelSocketOwners({ ask: askOwner })
    const images = new ImagesSeen({ dataDir: config.dataDir, log })
    closing.defer(() => images.close())
    const started = Promise.withResolvers<Reload>()
    const reload: Reloading = {
      reload: async () => (await started.promise).reload(),
      running: async () => (await started.promise).running,
    }
    const made = { registries, client, history, images, reload, authority, owners, pause }
    const parts: NodeParts = { ...told, config, startedBy, startedMs, upstreamProxy, guard, ...made }
    const pages = await startPages(parts, process.env, closing)
    const trust = trustOf(parts, consent)
    const proxy = await startTrustedProxy(parts, trust, { closing, adminPort: pages.adminAddress.port })
    pages.isServing = true
    const { attachedDir } = config
    const following = { attachedDir, registries, surroundings, client, authority, trust, proxy, conditions }
    closing.defer(await followConsent(following, consent))
    started.resolve(reloadOf({ ...parts, surroundings, trust, proxy }, { closing, settings, reread }))
    const addresses = {
      proxyAddress: proxy.address,
      mirrorSockets: proxy.mirrorSockets,
      peerAddress: client.peerAddress,
      adminAddress: pages.adminAddress,
      localSocket: pages.localSocket,
      metricsAddress: pages.metricsAddress,
    }
    logStart(parts, addresses)
    closing.defer(collectWhenIdle())
    guard?.say('ready')
    guard?.onGone(() => process.kill(process.pid, 'SIGTERM'))
    return {
      ...addresses,
      get mirrorSockets() {
        return proxy.mirrorSockets
      },
      defects,
      reload: () => reload.reload(),
      close: () => closing.disposeAsync(),
    }
  } catch (error) {
    await closing.disposeAsync()
    throw error
  }
}

/** @throws ConfigError if a listener of the mirror is for a registry that this node does not serve */
function refuseUnknownMirror({ mirrorListen, registries, registriesFromTracker }: NodeConfig): void {
  if (registriesFromTracker) return
  const known = new Set(registries.map(({ host }) => host))
  const unknown = mirrorListen.find(({ registry }) => registry !== undefined && !known.has(registry))
  if (unknown === undefined) return
  throw new ConfigError(`mirrorListen: ${unknown.registry} is not among the registries`, {
    hint: 'Name it with --registries too, or remove its listener.',
  })
}

function toldOf(log: Logger): Told {
  const metrics = createMetrics({ process: true })
  const defects = new Defects({ log, count: defectCounter(metrics) })
  return { metrics, defects, conditions: new Conditions({ log }), log }
}

/** How this machine reaches registries, and what it trusts beside its own authorities. */
async function surroundingsOf(
  config: NodeConfig,
  conditions: Conditions,
): Promise<RegistrySurroundings & { proxy: UpstreamProxy | undefined }> {
  const proxy = upstreamProxyOf(config, process.env, conditions)
  if (proxy !== undefined) await refuseProxyLoop(proxy, config.proxyListen)
  return { certsDirs: certsDirsOf(config.dockerCertsDir), proxy }
}

function openHistory({ dataDir }: NodeConfig, client: Client, log: Logger): PullHistory {
  return new PullHistory({ dataDir, sentToPeers: () => client.status().moved.bytesToPeers, log })
}

function reloadOf(
  parts: Omit<ChangeParts, 'onRemoved'> & NodeParts,
  {
    closing,
    settings,
    reread,
  }: { closing: AsyncDisposableStack; settings: NodeConfig; reread: () => NodeConfig },
): Reload {
  const { config, log } = parts
  const withConsent = (found: NodeConfig) =>
    withAttached(found, readConsent(settings.attachedDir), process.env)
  const onRemoved = (registry: RegistryClient) => closing.defer(() => registry.close())
  return new Reload({
    running: config,
    reread: () => withConsent(reread()),
    prepare(before, after) {
      refuseUnknownMirror(after)
      return prepareSettings({ ...parts, onRemoved }, before, after)
    },
    log,
  })
}

function trustOf({ config, registries, conditions }: NodeParts, consent: Consent | undefined): TrustFiles {
  const { dockerCertsDir } = config
  const publicFile = consent?.authorityFile
  const authorityFile = authorityFileOf(config)
  return new TrustFiles({
    authorityFile,
    publicFile,
    dockerCertsDir: config.writesDockerCerts ? dockerCertsDir : '',
    registries: registries.keys(),
    conditions,
  })
}

function authorityFileOf({
  dataDir,
  authorityFile = join(dataDir, AUTHORITY_FILE_NAME),
}: NodeConfig): string {
  return authorityFile
}

/** The guard's socket for the mirror, if it has one. */
function handedMirror(guard: GuardLine | undefined): MirrorPlace[] {
  const fd = guard?.socket('mirror')
  return fd === undefined ? [] : [{ socket: { fd } }]
}

/** The proxy, whose authority the clients of this machine find in their trust files while it runs. */
async function startTrustedProxy(
  parts: NodeParts,
  trust: TrustFiles,
  { closing, adminPort }: { closing: AsyncDisposableStack; adminPort: number },
): Promise<RunningProxy> {
  const { config, client, registries, authority, history, log } = parts
  const { dataDir, dockerCertsDir } = config
  closing.defer(() => trust.remove())
  const proxy = await startProxy({
    listen: config.proxyListen,
    descriptor: parts.guard?.socket('proxy'),
    p2pMinBytes: config.p2pMinBytes,
    permitLinkLocal: config.permitLinkLocal,
    permittedTargets: config.permittedTargets,
    upstreamProxy: parts.upstreamProxy,
    mirrorPlaces: [...handedMirror(parts.guard), ...config.mirrorListen],
    deniedPorts: [adminPort, client.peerAddress.port],
    publish: (pem) => trust.put(pem),
    places: { dockerCertsDir, authorityFile: authorityFileOf(config) },
    isRestarted: noteRun(dataDir),
    owners: parts.owners,
    client,
    registries,
    authority,
    metrics: parts.metrics,
    records: history.records,
    onImage: (image) => parts.images.saw(image),
    pause: parts.pause,
    conditions: parts.conditions,
    log,
    defects: parts.defects,
  })
  closing.defer(() => {
    parts.guard?.say('leaving')
    return proxy.drain()
  })
  closing.defer(keepAuthorityFresh(authority, trust, () => proxy.authorityChanged(), log))
  return proxy
}

function logStart({ client, registries, log }: NodeParts, addresses: object): void {
  const facts = { ...addresses, registries: [...registries.keys()] }
  if (client.status().joined === undefined)
    log.info(facts, 'the node runs, but has not joined its cluster yet')
  void client.joined().then(() => log.info(facts, 'the node is ready'))
}

/** Leaves a file in the data folder. @returns whether an earlier run left one */
function noteRun(dataDir: string): boolean {
  const path = join(dataDir, LAST_RUN_FILE)
  const isRestarted = readOwnFile(path) !== undefined
  replaceFile(path, `${new Date().toISOString()}\n`)
  return isRestarted
}

/** Replaces the authority before it ends, because a process may run for weeks. */
function keepAuthorityFresh(
  authority: ProxyAuthority,
  trust: TrustFiles,
  onChange: () => void,
  log: Logger,
): () => void {
  const renew = async () => {
    if (!(await authority.renewWhenDue())) return
    trust.put(authority.certificatesPem)
    onChange()
    log.info('the proxy changed its authority')
  }
  const timer = setInterval(() => {
    renew().catch((err: unknown) => log.error({ err }, 'the proxy cannot change its authority'))
  }, AUTHORITY_CHECK_MS)
  return () => clearInterval(timer)
}
