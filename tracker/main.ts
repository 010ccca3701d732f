import type { Logger } from 'pino'
import { pinOf, shownAuthority } from '../core/authority-pin.ts'
import { Conditions } from '../core/conditions.ts'
import { ensureDataDir, isReadableByOthers, type ListenAddress, readSecretFile } from '../core/config.ts'
import { CredentialsSeen } from '../core/credentials-seen.ts'
import { lockDataDir } from '../core/data-lock.ts'
import { Defects, isDefect } from '../core/defects.ts'
import type { ClusterId } from '../core/metainfo.ts'
import { createMetrics } from '../core/metrics.ts'
import { closeRegistries, openRegistries, type RegistryClients } from '../core/registry-client.ts'
import { Strangers } from '../core/strangers.ts'
import { TokenKeys } from '../core/token-keys.ts'
import { upstreamProxyOf } from '../core/upstream-proxy-config.ts'
import { AddressRanges } from './address-ranges.ts'
import { AdminAuthorities, removeAdminPem } from './admin/admin-authority.ts'
import { openAdminSocket } from './admin/admin-socket.ts'
import { RemoteCallers } from './admin/callers.ts'
import type { JoinAddress } from './admin/handler.ts'
import { adminRoutes } from './admin/routes.ts'
import { admitRequests } from './api/admit-requests.ts'
import { callerOf } from './api/caller.ts'
import { listen, makeHttpsListener, tlsOptions } from './api/https-listener.ts'
import { nodeRoutes } from './api/routes.ts'
import { AdminTokens } from './authority/admin-tokens.ts'
import { Clusters } from './authority/clusters.ts'
import { JoinTokens } from './authority/join-tokens.ts'
import { NodeMarks } from './authority/node-marks.ts'
import { Pauses } from './authority/pauses.ts'
import { Restored } from './authority/restored.ts'
import { RevocationCopies } from './authority/revocation-copies.ts'
import { Revocations } from './authority/revocations.ts'
import { openSealer, type Sealer } from './authority/sealer.ts'
import { HEARTBEATS_MISSED_MAX } from './calls/heartbeat.ts'
import { adminTlsFiles, nodeTlsFiles, type TrackerConfig } from './config.ts'
import { farHalf, type LeasePolicy } from './handout/leases.ts'
import { JoinLimits } from './join-limits.ts'
import { startLocked } from './locked.ts'
import { trackerMetrics } from './metrics.ts'
import type { TrackerParts } from './parts.ts'
import { pruneRegularly } from './prune.ts'
import { Acceptances } from './pull/acceptances.ts'
import { FailedGrants } from './pull/failed-grants.ts'
import { KindsFound } from './pull/kinds-found.ts'
import { Memberships } from './pull/membership.ts'
import { StoredAnswers } from './pull/stored-answers.ts'
import { StoredTokenKeys } from './pull/stored-token-keys.ts'
import { TrustedKeys } from './pull/trusted-keys.ts'
import { RequestLimits } from './request-limits.ts'
import { restoreMemory, saveMemoryRegularly } from './saved-memory.ts'
import { stockRoutes } from './stock/routes.ts'
import { openStore } from './store/open-store.ts'
import type { Store } from './store/store.ts'
import { followStore, storeClock } from './store-news.ts'
import { DialBacks } from './swarm/dial-back.ts'
import { EpochNews } from './swarm/epoch-news.ts'
import { GoneHolders } from './swarm/gone-holders.ts'
import { meetRegularly, OtherTrackers } from './swarm/other-trackers.ts'
import { PeerTables } from './swarm/peer-tables.ts'
import { dialPort, PortTrials } from './swarm/port-trials.ts'
import { PullAccesses } from './swarm/pull-accesses.ts'
import { RegistryLimits } from './swarm/registry-limits.ts'
import { Sha1Claims } from './swarm/sha1-claims.ts'
import { SharedEndpoints } from './swarm/shared-endpoints.ts'
import { SwarmCache } from './swarm/swarm-cache.ts'

export interface RunningTracker {
  /** Address where nodes reach it. */
  readonly address: ListenAddress
  readonly adminAddress: ListenAddress
  readonly defects: Defects
  /**
   * The admin API's call, for a program that runs the tracker inside itself.
   * @throws RefusedError CLUSTER_EXISTS
   */
  createCluster(cluster: { cluster: ClusterId; name: string; joinTokenHash: string }): Promise<void>
  clusterIds(): ClusterId[]
  /** Whether nodes may join with it. @param hash SHA-256 (64 hex digits) of the whole join token */
  isJoinTokenLive(cluster: ClusterId, hash: string): Promise<boolean>
  /** Calls the listener after join tokens were withdrawn, and after other changes of clusters. */
  onClustersChange(listener: () => void): void
  close(): Promise<void>
}

/** For the audit log. */
const UNLOCKED = { actor: 'operator', action: 'tracker unlocked', cluster: null, target: 'data key' }

/** The command line's view of a running program. */
export interface RunningProgram {
  readonly defects: Defects
  /** Rejects if the program must end by itself. */
  readonly failed?: Promise<never>
  close(): Promise<void>
}
/** Certificates of one node: it renews one every 16 hours and two every 40 minutes, and asks for all after a restart. */
const CERTIFICATE_BOUNDS = { requestsPerSecondMax: 1 / 60, requestsBurstMax: 16, requestsConcurrentMax: 0 }

/** Surroundings that tests replace. */
export interface TrackerSurroundings {
  nowMs?: () => number
  random?: () => number
  leasePolicy?: LeasePolicy
  /** 0: the first pull under a new token key waits for its probe. */
  probePauseMs?: number
}

/** Starts the tracker, locked if its configuration names no unlock key. @throws as `startTracker` */
export function runTracker(config: TrackerConfig, log: Logger): Promise<RunningProgram> {
  if (config.unlockKeyFile !== undefined) return startTracker(config, log)
  return startLocked(config, log, (unlockKey) => startTracker(config, log, {}, unlockKey))
}

/**
 * Starts the tracker: store, secrets, state, then the two listeners.
 * @param unlockKey default: from the configured file
 * @throws ConfigError, UnlockKeyError, StoreUnusableError, UnsealError, and errors of the registries' files
 */
export async function startTracker(
  config: TrackerConfig,
  log: Logger,
  surroundings: TrackerSurroundings = {},
  unlockKey?: string,
): Promise<RunningTracker> {
  const running = new AsyncDisposableStack()
  try {
    const nodeTls = nodeTlsFiles(config)
    const adminTls = adminTlsFiles(config)
    const key = unlockKey ?? readSecretFile(config.unlockKeyFile ?? '', 'unlockKeyFile')
    for (const name of ['tlsKeyFile', 'adminTlsKeyFile', 'unlockKeyFile'] as const) {
      const path = config[name]
      if (path !== undefined && isReadableByOthers(path))
        log.warn({ name, path }, 'other users can read a secret')
    }
    ensureDataDir(config.dataDir)
    running.defer(lockDataDir(config.dataDir))
    const store = running.adopt(await openStore(config), (it) => it.close())
    const clock = await storeClock({ store }, surroundings.nowMs ?? Date.now)
    running.defer(clock.stop)
    const sealer = await openSealer(store, key)
    const proxy = upstreamProxyOf(config, process.env)
    const registries = running.adopt(openRegistries(config.registries, { proxy }), closeRegistries)
    const parts = await assemble(config, {
      ...surroundings,
      log,
      store,
      sealer,
      registries,
      nowMs: clock.nowMs,
    })
    if (unlockKey !== undefined) await store.addAudit({ ...UNLOCKED, atMs: parts.nowMs() })
    await parts.clusters.withdrawEnded(parts.nowMs())
    await parts.revocations.clearEnded(parts.nowMs())
    const admins = await AdminAuthorities.load(store, sealer, parts.nowMs())
    await admins.withdrawEnded(parts.nowMs())
    removeAdminPem(config.dataDir, log)
    await parts.tokenKeys.forgetEnded()
    running.defer(() => parts.tokenKeys.close())
    running.defer(pruneRegularly({ ...parts, admins }, config))
    await restoreMemory(parts)
    running.defer(saveMemoryRegularly(parts))
    await parts.others.meet()
    running.defer(meetRegularly(parts.others))
    const followDataKey = async () => {
      const newest = unlockKey ?? readSecretFile(config.unlockKeyFile ?? '', 'unlockKeyFile')
      await sealer.inTurn(async () => sealer.adopt(await openSealer(store, newest)))
    }
    running.defer(() => parts.portTrials.close())

    const trusted = () => ({ ...nodeTls.current, authorityPems: parts.clusters.authorityPems() })
    const nodeApi = makeHttpsListener(trusted(), parts, {
      async memberOn(socket) {
        const caller = await callerOf(parts, socket)
        return caller.kind === 'stranger' ? undefined : caller.key
      },
      balancers: new AddressRanges(config.balancers),
    })
    const presentToNodes = () => nodeApi.server.setSecureContext(tlsOptions(trusted()))
    parts.clusters.onChange(presentToNodes)
    running.defer(nodeTls.follow(presentToNodes, log))
    admitRequests(nodeApi.app, parts, config)
    nodeRoutes(nodeApi.app, parts)
    stockRoutes(nodeApi.app, parts)
    const adminListenerTls = async () => ({ ...(await admins.listenerTls()), ...adminTls?.current })
    const adminApi = makeHttpsListener(await adminListenerTls(), parts, {
      memberOn: async (socket) => (socket.authorized ? 'admin' : undefined),
    })
    const presentToAdmins = async () => adminApi.server.setSecureContext(tlsOptions(await adminListenerTls()))
    admins.onChange(presentToAdmins)
    if (adminTls !== undefined) running.defer(adminTls.follow(() => void presentToAdmins(), log))
    const adminParts = {
      ...parts,
      admins,
      config,
      joinAddress: () => joinAddressOf(config, nodeTls.current.certificatePem),
      listenerAuthority: () => adminTls && shownAuthority(adminTls.current.certificatePem)?.toString(),
    }
    const remote = new RemoteCallers({ ...parts, admins })
    adminRoutes(adminApi.app, adminParts, {
      callerOf: (it) => remote.of(it),
      enter: (it) => remote.enter(it),
      isLocal: false,
    })

    running.defer(await followStore({ ...parts, admins, followDataKey }))
    running.defer(() => nodeApi.app.close())
    const address = await listen(nodeApi, 'listen', config.listen)
    running.defer(await openAdminSocket(config.dataDir, adminParts))
    running.defer(() => adminApi.app.close())
    const adminAddress = await listen(adminApi, 'adminListen', config.adminListen)
    const { clusters } = parts
    log.info({ address, adminAddress, clusters: clusters.list().length }, 'the tracker is ready')
    if (!parts.restored.isGranting)
      log.warn('the tracker was restored and grants nothing: see `shoal tracker confirm-restore --show`')
    return {
      address,
      adminAddress,
      defects: parts.defects,
      createCluster: async ({ joinTokenHash: hash, ...cluster }) => {
        await clusters.create({ ...cluster, joinToken: { hash } }, { actor: 'tracker', nowMs: parts.nowMs() })
      },
      clusterIds: () => clusters.list().map(({ cluster }) => cluster),
      isJoinTokenLive: (cluster, hash) => parts.joinTokens.isLive(cluster, hash, parts.nowMs()),
      onClustersChange: (listener) => clusters.onChange(listener),
      close: () => running.disposeAsync(),
    }
  } catch (error) {
    await running.disposeAsync()
    throw error
  }
}

interface Foundation extends TrackerSurroundings {
  log: Logger
  store: Store
  sealer: Sealer
  registries: RegistryClients
}

async function assemble(config: TrackerConfig, foundation: Foundation): Promise<TrackerParts> {
  const { log, store, sealer, registries } = foundation
  const storedAnswers = new StoredAnswers({ store, sealer })
  const stored = new StoredTokenKeys({ store, sealer, log })
  const { nowMs = Date.now, random = Math.random, leasePolicy = farHalf(), probePauseMs } = foundation
  const { pullCertificateSeconds, leaseSeconds, heartbeatSeconds } = config
  const silentMsMax = heartbeatSeconds * 1000 * HEARTBEATS_MISSED_MAX
  const nodeMarks = await NodeMarks.load(store)
  const peers = new PeerTables(silentMsMax, (cluster, node) => nodeMarks.isDrained(cluster, node))
  const metrics = trackerMetrics(createMetrics({ process: true }).registry, () => peers.nodeCount())
  const strangers = new Strangers(nowMs)
  const memberships = new Memberships(strangers, storedAnswers)
  const tokenKeys = new TokenKeys({ registries })
  const clusters = await Clusters.load(store, sealer, { nowMs, settleMs: silentMsMax })
  const revocations = await Revocations.load(store)
  const copies = new RevocationCopies(sealer)
  const defects = new Defects({ log, count: metrics.countDefect })
  const conditions = new Conditions({ log })
  return {
    store,
    sealer,
    clusters,
    joinTokens: new JoinTokens({ store, sealer, clusters }),
    adminTokens: await AdminTokens.load({ store, sealer, log }),
    revocations,
    revocationCopies: copies,
    restored: await Restored.load({ store, clusters, revocations, copies, nowMs }),
    others: new OtherTrackers({ store, peers, revocations, log, defects, nowMs }, silentMsMax),
    pauses: await Pauses.load(store),
    nodeMarks,
    swarms: new SwarmCache(store, nowMs),
    epochs: await EpochNews.load(store),
    peers,
    conditions,
    sharedEndpoints: new SharedEndpoints(conditions, silentMsMax),
    portTrials: new PortTrials({ peers, metrics, nowMs, dial: dialPort }),
    dialBacks: new DialBacks(log),
    goneHolders: new GoneHolders({ peers, nowMs }),
    sha1Claims: new Sha1Claims(),
    registries,
    tokenKeys: await TrustedKeys.load({ tokenKeys, registries, stored, log, nowMs, probePauseMs }),
    storedAnswers,
    acceptances: new Acceptances(memberships, storedAnswers),
    credentialsSeen: new CredentialsSeen({
      registries,
      dataDir: config.dataDir,
      log,
      onNotOpen: (registry) => {
        log.error(
          { code: 'REGISTRY_NOT_OPEN', registry },
          'a registry of kind none asks for credentials; each pull is judged, as without a kind',
        )
        store.putRegistryNotOpen(registry).catch((error: unknown) => {
          if (isDefect(error)) defects.note('tracker_job', error)
          log.error({ err: error, registry }, 'cannot tell the other trackers that a registry is not open')
        })
      },
    }),
    strangers,
    kindsFound: new KindsFound(registries, log),
    memberships,
    accesses: new PullAccesses(),
    pullLimits: pullLimits(config, log),
    renewLimits: pullLimits(config, log),
    certificateLimits: new RequestLimits(CERTIFICATE_BOUNDS, log),
    joinLimits: new JoinLimits(config, log),
    failedGrants: new FailedGrants(log),
    registryLimits: new RegistryLimits(),
    leasePolicy,
    times: { pullCertificateSeconds, leaseSeconds, heartbeatSeconds },
    metrics,
    log,
    defects,
    nowMs,
    random,
  }
}

function joinAddressOf({ advertise }: TrackerConfig, certificatePem: string): JoinAddress {
  const authority = shownAuthority(certificatePem)
  const authorityPin = authority === undefined ? null : pinOf(authority).toString('base64url')
  return { trackers: advertise, authorityPin }
}

/** Limits granted pulls in addition to requests, because each pull leaves rows in the store. */
function pullLimits({ pullsPerMinuteMax, pullsBurstMax }: TrackerConfig, log: Logger): RequestLimits {
  const bounds = {
    requestsPerSecondMax: pullsPerMinuteMax / 60,
    requestsBurstMax: pullsBurstMax,
    requestsConcurrentMax: 0,
  }
  return new RequestLimits(bounds, log)
}
