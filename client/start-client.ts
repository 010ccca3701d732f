import { join } from 'node:path'
import type { Digest } from '../core/digest.ts'
import { ShoalError } from '../core/errors.ts'
import { type SwarmId, swarmIdOf } from '../core/metainfo.ts'
import { grantsPull, isSignedBy, isValidAt, parseRegistryToken } from '../core/registry-token.ts'
import type { RegistryHost } from '../core/repository.ts'
import { TokenKeys } from '../core/token-keys.ts'
import type { GrantedSwarm, HeartbeatResponse } from '../core/tracker-api.ts'
import { BlobReader } from './blob-reader.ts'
import type { BlobProgress, BlobRequest, Client, ClientOptions, ImagePlan, OpenBlob } from './client.ts'
import { BlobDistrustedError, TrackerRefusedError } from './errors.ts'
import { Heartbeat } from './heartbeat.ts'
import { Admission } from './net/admission.ts'
import { ClusterTrustState } from './net/cluster-trust.ts'
import { type Grant, Grants } from './net/grants.ts'
import { NodeIdentity } from './net/node-identity.ts'
import { dialPeer } from './net/peer-dial.ts'
import { PeerListener } from './net/peer-listener.ts'
import { SendBuffers } from './net/send-buffers.ts'
import { TrackerClient } from './net/tracker-client.ts'
import { BlobStore, type StoredBlob } from './store/blob-store.ts'
import { PieceBuffers } from './store/piece-buffers.ts'
import { Verifier } from './store/verifier.ts'
import { Swarm } from './swarm.ts'

/** How long a digest whose swarm copy was wrong goes straight to the registry. */
const DISTRUST_MS = 10 * 60 * 1000
/** How long "this blob belongs to this repository" is remembered, as at the tracker. */
const MEMBERSHIP_MS = 3600 * 1000
/** Bounds of what is remembered of images that passed; the oldest go first. */
const PLANS_MAX = 64
const MEMBERSHIPS_MAX = 4096
const JOIN_RETRY_MS = 5_000
const VERSION = 'Shoal 0.1'

/** Starts the engine: joins the cluster, listens for peers, and serves what the store holds. */
export async function startClient(options: ClientOptions): Promise<Client> {
  const client = new NodeClient(options)
  await client.start()
  return client
}

class NodeClient implements Client {
  private readonly options: ClientOptions
  private readonly tracker: TrackerClient
  private readonly tokenKeys: TokenKeys
  private readonly admission: Admission
  private readonly buffers = new PieceBuffers()
  private readonly sendBuffers = new SendBuffers()
  private readonly verifier = new Verifier()
  private readonly swarms = new Map<SwarmId, Swarm>()
  private readonly opening = new Map<SwarmId, Promise<Swarm>>()
  private readonly plans = new Map<string, ImagePlan>()
  private readonly distrusted = new Map<string, number>()
  private readonly memberships = new Map<string, number>()
  private readonly timers = new Set<NodeJS.Timeout>()
  private identity!: NodeIdentity
  private trust!: ClusterTrustState
  private grants!: Grants
  private store!: BlobStore
  private heartbeat!: Heartbeat
  private listener!: PeerListener
  private listenPort = 0

  constructor(options: ClientOptions) {
    this.options = options
    this.tracker = new TrackerClient({ trackerUrl: options.trackerUrl, trackerCaPem: options.trackerCaPem })
    this.tokenKeys = new TokenKeys({ registries: options.registries, log: options.log })
    this.admission = new Admission({ registries: options.registries, tokenKeys: this.tokenKeys })
  }

  async start(): Promise<void> {
    const { dataDir, log, cacheBytesMax, trackerPatienceMs, joinToken } = this.options
    this.identity = await NodeIdentity.load(dataDir)
    const renewInMs = await this.identity.join(this.tracker, joinToken)
    this.renewIdentity(renewInMs)
    this.trust = new ClusterTrustState(this.identity.cluster, this.tokenKeys)
    this.store = await BlobStore.open(join(dataDir, 'blobs'), cacheBytesMax)
    this.grants = new Grants({
      tracker: this.tracker,
      trust: this.trust,
      tokenKeys: this.tokenKeys,
      patienceMs: trackerPatienceMs,
      listenPort: () => this.listenPort,
      planned: (request) => this.plannedWith(request),
      isInUse: (grant) => [...this.swarms.values()].some((swarm) => swarm.grant === grant && swarm.isWanted),
      onTrustChange: () => this.listener.trust(this.trust.authorities),
    })
    this.heartbeat = new Heartbeat({
      tracker: this.tracker,
      trust: this.trust,
      log,
      listenPort: () => this.listenPort,
      holds: () => this.holds(),
      wantsPeers: () =>
        [...this.swarms.values()].filter(({ links }) => links.wantsPeers).map(({ swarm }) => swarm),
      onAnswer: (answer) => this.onHeartbeat(answer),
      onTrustChange: () => this.listener.trust(this.trust.authorities),
    })
    this.listener = new PeerListener({
      ...this.options.peerListen,
      authorities: this.identity.authorities,
      swarmOf: (swarm) => this.servable(swarm)?.links,
      contextOf: (host) => this.contextFor(host.swarm),
      onRefused: (error, address) => log.warn({ code: error.code, err: error, address }, 'peer refused'),
    })
    this.listenPort = await this.listener.listen()
    await this.heartbeat.start()
    log.info({ node: this.identity.node, cluster: this.identity.cluster, port: this.listenPort }, 'joined')
  }

  get peerAddress(): { host: string; port: number } {
    return { host: this.options.peerListen.host, port: this.listenPort }
  }

  async open(request: BlobRequest): Promise<OpenBlob> {
    const { swarm, lease } = await this.swarmFor(request)
    const registry = this.options.registries.get(request.registry)!
    return new BlobReader(swarm, { request, registry, lease })
  }

  async authorisedWithoutRegistry(request: Omit<BlobRequest, 'bytes'>): Promise<number | undefined> {
    const { registry, repository, digest, credential } = request
    const stored = this.store.all().find(({ key }) => key.registry === registry && key.digest === digest)
    const rememberedUntilMs = this.memberships.get(membershipKey(request)) ?? 0
    if (!stored || rememberedUntilMs < Date.now() || credential.scheme !== 'bearer') return undefined
    try {
      const token = parseRegistryToken(credential.token)
      const key = this.tokenKeys.keyFor(registry, token)
      const isGood = key && isSignedBy(token, key) && isValidAt(token, Date.now() / 1000)
      return isGood && grantsPull(token, repository) ? stored.layout.blobBytes : undefined
    } catch (error) {
      if (error instanceof ShoalError) return undefined
      throw error
    }
  }

  plan(plan: ImagePlan): void {
    for (const { digest } of plan.blobs) {
      const key = `${plan.registry} ${plan.repository} ${digest}`
      this.plans.delete(key)
      this.plans.set(key, plan)
    }
    trim(this.plans, PLANS_MAX * 16)
  }

  progress(): BlobProgress[] {
    return [...this.swarms.values()].map((swarm) => swarm.progress())
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearTimeout(timer)
    this.heartbeat.close()
    this.grants.close()
    for (const swarm of this.swarms.values()) swarm.close()
    await this.listener.close()
    await this.verifier.close()
    this.store.close()
    await this.tracker.close()
  }

  // --- opening -------------------------------------------------------------------------------------------------

  private async swarmFor(request: BlobRequest): Promise<{ swarm: Swarm; lease: GrantedSwarm['lease'] }> {
    const id = this.swarmIdOf(request)
    if ((this.distrusted.get(id) ?? 0) > Date.now()) {
      throw new BlobDistrustedError('a copy of this blob from the swarm was wrong')
    }
    const held = this.store.get(id)
    if (held?.isComplete) return { swarm: this.swarmOn(held), lease: null }
    const { grant, swarm: granted } = await this.grants.obtain(request)
    if (granted.swarm !== id) {
      throw new TrackerRefusedError('the tracker granted another swarm', {
        trackerCode: 'SWARM',
        status: 200,
      })
    }
    this.memberships.delete(membershipKey(request))
    this.memberships.set(membershipKey(request), Date.now() + MEMBERSHIP_MS)
    trim(this.memberships, MEMBERSHIPS_MAX)
    const swarm = await this.downloadingSwarm(request, id)
    const isFresh = swarm.grant !== grant
    swarm.admitReader(grant, isFresh ? granted : undefined, request.credential)
    return { swarm, lease: isFresh ? granted.lease : null }
  }

  private downloadingSwarm(request: BlobRequest, id: SwarmId): Promise<Swarm> {
    const held = this.store.get(id)
    if (held) return Promise.resolve(this.swarmOn(held))
    const running = this.opening.get(id)
    if (running) return running
    const opening = this.createBlob(request, id).finally(() => this.opening.delete(id))
    this.opening.set(id, opening)
    return opening
  }

  private async createBlob(
    { registry, repository, digest, bytes }: BlobRequest,
    id: SwarmId,
  ): Promise<Swarm> {
    const isIdle = (blob: StoredBlob) => this.swarms.get(blob.swarm)?.isIdle ?? true
    const key = { registry, digest }
    const { created, evicted } = await this.store.create({ swarm: id, key, bytes, repository }, isIdle)
    for (const swarm of evicted) {
      this.swarms.get(swarm)?.close()
      this.swarms.delete(swarm)
    }
    return this.swarmOn(created)
  }

  private swarmOn(stored: StoredBlob): Swarm {
    const existing = this.swarms.get(stored.swarm)
    if (existing) return existing
    const swarm = new Swarm(stored, {
      node: this.identity.node,
      version: VERSION,
      trust: this.trust,
      admission: this.admission,
      tracker: this.tracker,
      buffers: this.buffers,
      sendBuffers: this.sendBuffers,
      verifier: this.verifier,
      log: this.options.log,
      registry: this.options.registries.get(stored.key.registry)!,
      dial: (peer, host, credential) =>
        dialPeer(peer, {
          host,
          credential,
          onLink: (link) => host.attach(link),
          onFailed: (error) => {
            host.dialEnded(peer.node)
            this.options.log.debug({ err: error, peer: peer.node }, 'dial failed')
          },
        }),
      onComplete: () => this.heartbeat.soon(),
      onFailed: (failed, reason) => void this.onFailed(failed, reason),
    })
    this.swarms.set(stored.swarm, swarm)
    return swarm
  }

  private async onFailed(swarm: Swarm, reason: ShoalError): Promise<void> {
    if (reason instanceof BlobDistrustedError) this.distrusted.set(swarm.swarm, Date.now() + DISTRUST_MS)
    this.options.log.error({ err: reason, digest: swarm.blob.digest, code: reason.code }, 'download failed')
    swarm.close()
    this.swarms.delete(swarm.swarm)
    await this.store.remove(swarm.swarm)
  }

  private plannedWith(request: BlobRequest): { digest: Digest; bytes: number }[] {
    return this.plans.get(`${request.registry} ${request.repository} ${request.digest}`)?.blobs ?? []
  }

  private swarmIdOf({
    registry,
    digest,
    bytes,
  }: {
    registry: RegistryHost
    digest: Digest
    bytes: number
  }): SwarmId {
    return swarmIdOf({ cluster: this.identity.cluster, registry, digest, bytes })
  }

  // --- peers and tracker ---------------------------------------------------------------------------------------

  private servable(id: SwarmId): Swarm | undefined {
    const stored = this.store.get(id)
    return stored && this.options.registries.has(stored.key.registry) ? this.swarmOn(stored) : undefined
  }

  private contextFor(id: SwarmId) {
    const swarm = this.swarms.get(id)
    const grant: Grant | undefined = swarm && !swarm.stored.isComplete ? swarm.grant : undefined
    const isGrantAlive = grant && grant.credential.expiresAtMs > Date.now()
    return isGrantAlive ? grant.credential.context : this.heartbeat.serving?.context
  }

  private holds(): { swarm: SwarmId; isSeed: boolean }[] {
    return this.store
      .all()
      .filter(({ key, have }) => this.options.registries.has(key.registry) && have.count > 0)
      .map(({ swarm, isComplete }) => ({ swarm, isSeed: isComplete }))
  }

  private onHeartbeat(answer: HeartbeatResponse): void {
    for (const { swarm, peers } of answer.peers) this.swarms.get(swarm)?.links.addPeers(peers)
    for (const instruction of answer.instructions) {
      const swarm = this.swarms.get(instruction.swarm)
      if (instruction.kind === 'epoch') swarm?.raiseEpoch(instruction.epoch)
      else void this.drop(instruction.swarm)
    }
    for (const swarm of this.swarms.values()) swarm.links.closeRevoked()
  }

  private async drop(id: SwarmId): Promise<void> {
    this.swarms.get(id)?.close()
    this.swarms.delete(id)
    await this.store.remove(id)
  }

  private renewIdentity(delayMs: number): void {
    const timer = setTimeout(async () => {
      this.timers.delete(timer)
      try {
        this.renewIdentity(await this.identity.join(this.tracker, this.options.joinToken))
      } catch (error) {
        this.options.log.warn({ err: error }, 'the node certificate could not be renewed')
        this.renewIdentity(JOIN_RETRY_MS)
      }
    }, delayMs)
    timer.unref()
    this.timers.add(timer)
  }
}

function membershipKey({
  registry,
  repository,
  digest,
}: {
  registry: string
  repository: string
  digest: string
}) {
  return `${registry} ${repository} ${digest}`
}

/** Drops the oldest entries of a map beyond `max`. */
function trim(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return
    map.delete(key)
  }
}
