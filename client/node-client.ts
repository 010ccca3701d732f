import { BoundedMap } from '../core/bounded-map.ts'
import { Conditions } from '../core/conditions.ts'
import { CredentialsSeen } from '../core/credentials-seen.ts'
import { Defects } from '../core/defects.ts'
import type { ShoalError } from '../core/errors.ts'
import type { NodeId, SwarmId } from '../core/metainfo.ts'
import type { RegistryNamed } from '../core/registries-api.ts'
import { showLimit } from '../core/registry-limit.ts'
import { type RegistryHost, scopeOf } from '../core/repository.ts'
import { TokenKeys } from '../core/token-keys.ts'
import { BAD_PEERS_MAX, type HeartbeatResponse } from '../core/tracker-api.ts'
import { peerVersion } from '../core/version.ts'
import type {
  BlobProgress,
  BlobRequest,
  Client,
  ClientOptions,
  ClientStatus,
  ImagePlan,
  OpenBlob,
  RegistryFound,
} from './client.ts'
import { BlobDistrustedError } from './errors.ts'
import { Limits } from './limits.ts'
import { Admission } from './membership/admission.ts'
import { ClusterTrustState } from './membership/cluster-trust.ts'
import { Grants } from './membership/grants.ts'
import { readJoined, trackerOf } from './membership/joined-cluster.ts'
import { Membership } from './membership/membership.ts'
import { NodeIdentity } from './membership/node-identity.ts'
import { NodeMemory } from './membership/node-memory.ts'
import { RegistrySettings } from './membership/registry-settings.ts'
import { TrackerClient } from './membership/tracker-client.ts'
import { TrackerWatch } from './membership/tracker-watch.ts'
import { servedRegistry } from './origin/served-registry.ts'
import { blobOfRepository, Vouching } from './origin/vouching.ts'
import { PeerListener } from './peer/peer-listener.ts'
import { PeerReach } from './peer/peer-reach.ts'
import { SendBuffers } from './peer/send-buffers.ts'
import { type Remembering, recall, recordOf } from './remembered.ts'
import { LoopLoad } from './store/loop-load.ts'
import { PieceBuffers } from './store/piece-buffers.ts'
import { SlowWrites } from './store/slow-writes.ts'
import { Verifier } from './store/verifier.ts'
import { BlobReader } from './swarm/blob-reader.ts'
import type { Cache } from './swarm/cache.ts'
import { GrantedSwarms } from './swarm/granted-swarms.ts'
import { takeNews } from './swarm/heartbeat-news.ts'
import { Pushes } from './swarm/pushes.ts'
import { StockAliases } from './swarm/stock-aliases.ts'
import type { Swarm } from './swarm/swarm.ts'
import { Swarms } from './swarm/swarms.ts'

/** Blobs whose manifest is remembered. */
const PLANNED_MAX = 1024
/** How long a stopping node waits for the tracker to accept the hashes that other nodes need. */
const PUBLISH_MS_MAX = 1_000

/** The transfer engine of one node. */
export class NodeClient implements Client {
  readonly #options: ClientOptions
  readonly limits: Limits
  readonly #conditions: Conditions
  readonly #tracker: TrackerClient
  readonly #tokenKeys: TokenKeys
  readonly #credentialsSeen: CredentialsSeen
  readonly #vouching: Vouching
  readonly #trust: ClusterTrustState
  readonly #settings: RegistrySettings
  readonly #admission: Admission
  readonly #grants: Grants
  readonly #listener: PeerListener
  readonly #defects: Defects
  readonly #verifier: Verifier
  readonly #planned = new BoundedMap<string, ImagePlan>(PLANNED_MAX)
  readonly #granted: GrantedSwarms
  readonly #peers: PeerReach
  readonly #badPeers: { swarm: SwarmId; node: NodeId }[] = []
  readonly #joined = Promise.withResolvers<void>()
  #joinedAtMs: number | undefined
  readonly #memory: NodeMemory
  #membership!: Membership
  swarms!: Swarms
  pushes!: Pushes
  readonly reach = (node?: NodeId) => this.#peers.reach(this.#tracker, node)
  #listenPort = 0

  constructor(options: ClientOptions) {
    const { log, registries, dataDir } = options
    this.#options = options
    this.limits = new Limits(options)
    this.#conditions = options.conditions ?? new Conditions({ log })
    this.#defects = options.defects ?? new Defects({ log, count: () => undefined })
    this.#verifier = new Verifier(this.#defects)
    const [{ upstreamProxy }, conditions] = [options, this.#conditions]
    const tracker = trackerOf(options)
    const watch = new TrackerWatch({ trackerUrl: tracker.trackerUrl ?? '', conditions })
    watch.onProbeWanted = () => this.#membership.probeTracker()
    this.#tracker = new TrackerClient({ ...tracker, upstreamProxy, conditions, watch })
    this.#tokenKeys = new TokenKeys({ registries })
    this.#trust = new ClusterTrustState(this.#tokenKeys)
    this.#vouching = new Vouching((host) => scopeOf(registries.get(host) ?? { host }))
    const onNotOpen = (host: RegistryHost) => conditions.raise('REGISTRY_NOT_OPEN', host)
    this.#credentialsSeen = new CredentialsSeen({ registries, dataDir, log, onNotOpen })
    this.#settings = new RegistrySettings({ ...options, conditions })
    this.#admission = new Admission({
      tokenKeys: this.#tokenKeys,
      credentialsSeen: this.#credentialsSeen,
      cluster: () => this.#trust.cluster,
      freshTrust: () => this.#membership.freshTrust(),
    })
    this.#grants = new Grants({
      defects: this.#defects,
      tracker: this.#tracker,
      trust: this.#trust,
      listenPort: () => this.#listenPort,
      tokenKeys: this.#tokenKeys,
      patienceMs: () => this.limits.trackerPatienceMs,
      conditions,
      planned: (request) => this.#planned.get(blobOfRepository(request))?.blobs ?? [],
      isInUse: (grant) => [...this.swarms.running()].some((swarm) => swarm.grant === grant && swarm.isWanted),
      onRenewed: (grant) => {
        for (const swarm of this.swarms.running()) if (swarm.grant === grant) swarm.links.redial()
        this.#peers.links.renewed(grant)
      },
    })
    this.#granted = new GrantedSwarms({
      hashedMsMax: options.stallLimits?.ms,
      cluster: () => this.#membership.cluster,
      apiPathOf: (host) => registries.get(host)?.apiPath,
      swarms: () => this.swarms,
      grants: this.#grants,
      vouching: this.#vouching,
      onMembership: () => this.#memory.changed(),
    })
    this.#memory = new NodeMemory({ dataDir, log, record: () => recordOf(this.#remembering) })
    for (const registry of registries.values()) showLimit(registry, conditions)
    this.#peers = new PeerReach({
      conditions,
      log,
      credential: () => this.#membership.links.credential,
      parts: {
        node: () => this.#membership.node,
        version: peerVersion(),
        ...{ trust: this.#trust, admission: this.#admission, defects: this.#defects },
        listenPort: () => this.#listenPort,
        hostOf: (swarm) => this.swarms.get(swarm)?.links,
      },
    })
    this.#listener = new PeerListener({
      links: this.#peers.links,
      ...options.peerListen,
      acceptedMax: () => this.limits.peerConnectionsMax,
      swarmOf: (name) => this.swarms.named(name)?.links,
      context: () => this.#membership.serving?.context,
      defects: this.#defects,
      onRefused: (error, address) => this.#peers.refused(error, address),
    })
  }

  async start(): Promise<void> {
    const { dataDir, cacheBytesMax, registries, cacheSecret } = this.#options
    const identity = await NodeIdentity.load(dataDir)
    this.#membership = this.#membershipOf(identity)
    recall(this.#remembering, this.#memory.load(Date.now()), identity.cluster)
    this.swarms = await Swarms.open({
      ...{ dataDir, cacheBytesMax, cacheSecret, registries },
      diskReserveBytes: this.#options.diskReserveBytes,
      conditions: this.#conditions,
      aliases: new StockAliases({ admission: this.#admission, trust: this.#trust }),
      parts: {
        node: identity.node,
        version: peerVersion(),
        trust: this.#trust,
        admission: this.#admission,
        ...{ tracker: this.#tracker, auditedShare: this.#options.auditedShare },
        stallLimits: this.#options.stallLimits,
        ...{ buffers: new PieceBuffers(), sendBuffers: new SendBuffers() },
        ...{ uploadLimit: this.limits.upload, downloadLimit: this.limits.download },
        registryLimit: this.limits.registry,
        verifier: this.#verifier,
        ...{ slowWrites: new SlowWrites(), loopLoad: new LoopLoad() },
        ...{ log: this.#options.log, defects: this.#defects },
        ...{ addresses: this.#peers.addresses, nodeLinks: this.#peers.links },
        dial: (peer, host, credential) => this.#peers.dial(peer, host, credential),
        onBadPeer: (swarm, node) => {
          if (this.#badPeers.length < BAD_PEERS_MAX) this.#badPeers.push({ swarm, node })
        },
      },
      onFailed: (swarm, reason) => this.#onFailed(swarm, reason),
      onHoldings: () => this.#membership.inventoryChanged(),
    })
    this.pushes = new Pushes({
      ...this.swarms.pushedFiles(),
      verifier: this.#verifier,
      log: this.#options.log,
      boundary: this.#defects.boundary('push', () => undefined),
      plan: (image) => this.plan(image),
      share: (request, copy) => this.#checkCredential(request).then(() => this.#granted.share(request, copy)),
    })
    this.#listenPort = await this.#listener.listen()
    this.swarms
      .prepareStored()
      .catch((error) => this.#options.log.warn({ err: error }, 'a stored blob has no name for stock clients'))
    try {
      await this.#membership.start()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  get #remembering(): Remembering {
    return { trust: this.#trust, membership: this.#membership, vouching: this.#vouching }
  }

  get cache(): Cache {
    return this.swarms.cache
  }

  get peerAddress(): { host: string; port: number } {
    return { host: this.#options.peerListen.host, port: this.#listenPort }
  }

  async whyNotOpen(request: Omit<BlobRequest, 'bytes'>): Promise<ShoalError | undefined> {
    const isHere = this.swarms.find(request) !== undefined || this.#grants.find(request) !== undefined
    return isHere ? undefined : this.#tracker.whyNot()
  }

  async open(request: BlobRequest): Promise<OpenBlob> {
    const registry = servedRegistry(this.#options.registries, request)
    await this.#checkCredential(request)
    return new BlobReader(await this.#granted.open(request), { request, registry })
  }

  async authorisedWithoutRegistry(request: Omit<BlobRequest, 'bytes'>): Promise<number | undefined> {
    if (!this.#vouching.vouchesFor(request, Date.now())) return undefined
    return this.swarms.find(request)?.layout.blobBytes
  }

  async isInRepository(request: Omit<BlobRequest, 'bytes'>): Promise<boolean> {
    return this.#vouching.isMember(request, Date.now()) || this.#grants.covers(request)
  }

  sawAccepted(request: BlobRequest, nowMs = Date.now()): void {
    this.#vouching.sawAccepted(request, { isOpen: this.#credentialsSeen.isOpen(request.registry), nowMs })
    this.#memory.changed()
  }

  registriesNamed(): RegistryNamed[] {
    return this.#settings.named()
  }

  registriesFound(): RegistryFound[] {
    return this.#settings.found()
  }

  registriesChanged(): void {
    this.#tokenKeys.configsChanged()
    this.#settings.settle()
  }

  plan(plan: ImagePlan): void {
    for (const { digest } of plan.blobs) this.#planned.set(blobOfRepository({ ...plan, digest }), plan)
    const { cluster } = this.#membership
    const registry = this.#options.registries.get(plan.registry)
    if (cluster === undefined || registry === undefined) return
    if (registry.kind === 'none' && !this.#credentialsSeen.isOpen(plan.registry)) return
    const blobs = this.#granted.missing(plan, cluster)
    if (blobs.length === 0) return
    this.#verifier.expectWork()
    this.#grants.prepare({ ...plan, blobs })
  }

  progress(): BlobProgress[] {
    return this.swarms.progress()
  }

  status(): ClientStatus {
    const { cluster, node } = this.#membership
    const joined = this.#joinedAtMs !== undefined && cluster !== undefined
    return {
      ...(joined ? { joined: { cluster, node, sinceMs: this.#joinedAtMs! } } : {}),
      tracker: { ...this.#tracker.watch.status(), url: this.#tracker.origin },
      peers: this.#peers.status(this.swarms.connectedNodes()),
      held: this.cache.held(),
      ...{ moved: this.swarms.moved(), location: this.limits.location },
    }
  }

  joined(): Promise<void> {
    return this.#joined.promise
  }

  async close(): Promise<void> {
    this.#membership.close()
    this.pushes.close()
    await this.swarms.published(PUBLISH_MS_MAX)
    this.#grants.close()
    await this.swarms.close()
    this.#peers.links.close()
    await this.#listener.close()
    await this.#verifier.close()
    await this.#tracker.close()
    await this.#memory.close()
  }

  async #checkCredential(request: BlobRequest): Promise<void> {
    const registry = servedRegistry(this.#options.registries, request)
    if (request.credential.scheme !== 'none') await this.#credentialsSeen.check(registry, request)
  }

  #onFailed(swarm: Swarm, reason: ShoalError): void {
    if (reason instanceof BlobDistrustedError) this.#granted.distrust(swarm.swarm)
    this.#options.log.error({ err: reason, digest: swarm.blob.digest, code: reason.code }, 'download failed')
  }

  #membershipOf(identity: NodeIdentity): Membership {
    return new Membership(identity, {
      tracker: this.#tracker,
      trust: this.#trust,
      settings: this.#settings,
      log: this.#options.log,
      defects: this.#defects,
      conditions: this.#conditions,
      joinToken: this.#options.joinToken,
      joinedCluster: () =>
        this.#options.trackerUrl === undefined ? readJoined(this.#options.dataDir) : undefined,
      wire: this.#options.wire,
      ...{ listenPort: () => this.#listenPort, location: () => this.limits.location },
      holds: () => this.swarms.holds(),
      wantsPeers: () =>
        [...this.swarms.running()].filter(({ links }) => links.wantsPeers).map(({ swarm }) => swarm),
      takeBadPeers: () => this.#badPeers.splice(0),
      onAnswer: (answer) => this.#onHeartbeat(answer),
      onJoined: () => {
        this.#joinedAtMs = Date.now()
        this.#joined.resolve()
      },
    })
  }

  #onHeartbeat(answer: HeartbeatResponse): void {
    this.#memory.changed()
    this.#options.onTrackerPause?.(answer.isPaused === true)
    this.#peers.forgetUnused(Date.now())
    takeNews(answer, { swarms: this.swarms, grants: this.#grants, links: this.#peers.links })
  }
}
