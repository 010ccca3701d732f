import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import type { Defects } from '../core/defects.ts'
import type { Digest } from '../core/digest.ts'
import type { ShoalError } from '../core/errors.ts'
import type { NodeLocation } from '../core/location.ts'
import type { NodeId } from '../core/metainfo.ts'
import type { Reach } from '../core/reach-api.ts'
import type { RegistryNamed } from '../core/registries-api.ts'
import type { RegistryClients } from '../core/registry-client.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'
import type { Credential } from '../core/tracker-api.ts'
import type { UpstreamProxy } from '../core/upstream-proxy.ts'

export interface BlobKey {
  registry: RegistryHost
  digest: Digest
}

/** A local request for a blob, after the proxy has made sure that the registry would serve it to this caller. */
export interface BlobRequest extends BlobKey {
  repository: Repository
  bytes: number
  credential: Credential
  /** The bytes [start, end) that the caller asks for; absent: the whole blob. */
  part?: { start: number; end: number } | undefined
}

/** The blobs of a manifest: they will be requested next. Proves nothing. */
export interface ImagePlan {
  registry: RegistryHost
  repository: Repository
  credential: Credential
  blobs: { digest: Digest; bytes: number }[]
}

/** One reader of one blob. Readers of the same blob share a download; the last `close` ends it. */
export interface OpenBlob {
  readonly bytes: number
  /** Bytes read so far, by source. */
  readonly sources: BytesBySource
  /** Code of what ended the swarm's part, if the rest came from the registry for this reader alone. */
  readonly fallback?: string | undefined
  /**
   * The bytes [start, end) in order, each verified before it is yielded. A chunk is valid until the next is
   * requested.
   * @throws BlobUnavailableError when neither the swarm nor the registry yields a piece in time
   * @throws BlobDistrustedError when the whole blob does not match its digest; the last byte was then held back
   */
  read(start: number, end: number): AsyncIterable<Uint8Array>
  close(): void
}

/** Where the bytes that a reader got came from. */
export interface BytesBySource {
  peers: number
  registry: number
  /** They were here before the reader came. */
  cache: number
}

/** Bytes moved since the start; never of the wire. */
export interface BytesMoved {
  bytesFromRegistry: number
  bytesFromPeers: number
  /** The part of it from peers that the tracker named as of this node's zone, and as of others. */
  bytesFromNear: number
  bytesFromFar: number
  /** Bytes that local readers found in this node's own cache. */
  bytesFromCache: number
  /** Bytes of blocks handed to peers' connections, repeats included. */
  bytesToPeers: number
}

/** How calls to the tracker end. */
export const CALL_OUTCOMES = ['answered', 'refused', 'failed'] as const
export type CallOutcome = (typeof CALL_OUTCOMES)[number]

/** What is known of the tracker; times on the clock of `Date.now()`. */
export interface TrackerStatus {
  /** `unknown`: not called yet. */
  state: 'unknown' | 'connected' | 'silent'
  sinceMs: number
  /** The last call that failed or was refused. */
  lastError?: { code: string; reason: string; atMs: number }
  /** Calls since the start. */
  calls: Record<CallOutcome, number>
  /** `https://host:port`; undefined before it is known. */
  url?: string | undefined
}

/** Other nodes, as this one sees them. */
export interface PeersStatus {
  /** Connected now. */
  connected: number
  /** Refused this node, or were refused by it, within the last minutes. */
  refused: number
  /** Could not be reached within the last minutes. */
  unreachable: number
  /** Events since the start. */
  events: { refused: number; unreachable: number }
}

/** The blob store. */
export interface HeldStatus {
  blobs: number
  /** Verified bytes. */
  bytes: number
  bytesMax: number
  /** The part of `bytes` that is pinned. */
  pinnedBytes: number
  /** Blobs that made room for others since the start. */
  evictions: number
}

export interface ClientStatus {
  /** Absent: the tracker has not taken this node in since the start. */
  joined?: { cluster: string; node: string; sinceMs: number }
  tracker: TrackerStatus
  peers: PeersStatus
  held: HeldStatus
  moved: BytesMoved
  location: NodeLocation
}

/** Progress of one blob on this node; its bytes are counted since the start. */
export interface BlobProgress extends BlobKey, BytesMoved {
  repository: Repository
  bytes: number
  /** `partial`: some of it is held, and nobody fetches the rest now. */
  state: 'downloading' | 'partial' | 'complete' | 'failed'
  peers: number
}

/** A blob that this node keeps, whole or in part. */
export interface CachedBlob extends BlobKey {
  repository: Repository
  bytes: number
  /** Verified. */
  heldBytes: number
  isWhole: boolean
  /** Somebody reads it here now. */
  isInUse: boolean
  isPinned: boolean
  /** Read here or served to others; on the clock of `Date.now()`. */
  usedAtMs: number
  /** Other nodes with the whole blob, HOLDERS_TOLD_MAX for any number above; absent: the tracker has not said. */
  others?: number
}

export interface CheckedBlob extends CachedBlob {
  /** What was held before. */
  checkedBytes: number
  /** The part that was wrong, and was dropped. */
  wrongBytes: number
}

/** What is never evicted, under the name that an operator gave. */
export interface PinnedImage {
  name: string
  /** With their lengths; 0 where that is not known. */
  blobs: { digest: Digest; bytes: number }[]
}

/** What may go: each blob to which one of the first three applies. Never what is pinned or in use. */
export interface PruneRequest {
  unusedForMs?: number | undefined
  /** The first to make room, until the cache holds no more than this. */
  toBytes?: number | undefined
  isAll?: boolean
  /** Tells only. */
  isDryRun?: boolean
}

export interface CacheLimits {
  cacheBytesMax: number
  /** What stays free on the disk. */
  diskReserveBytes: number
}

/** The cache, for operators. */
export interface BlobCache {
  readonly limits: CacheLimits
  list(): CachedBlob[]
  pins(): PinnedImage[]
  /** @throws CachePinsError when there is no room for all pins; nothing is pinned then */
  pin(image: PinnedImage): void
  /** @throws CacheUnknownError if there is no pin of that name */
  unpin(name: string): void
  /** @returns what went, or would go */
  prune(request: PruneRequest): Promise<CachedBlob[]>
  /** Hashes all that is held, at a bounded rate, and drops what is wrong. One run at a time; others wait for it. */
  verify(onChecked: (blob: CheckedBlob) => void, signal: AbortSignal): Promise<void>
  resize(limits: CacheLimits): void
}

/** A blob as the registry knows it, in one of its repositories. */
export interface RegistryBlob extends BlobKey {
  repository: Repository
}

/** The copy of one upload. Nothing here waits or throws: what fails costs the copy, never the push. */
export interface PushCopy {
  /** Bytes so far. */
  readonly bytes: number
  readonly isDropped: boolean
  append(chunk: Uint8Array): void
  /** The next bytes are from `to` on. @param to at most `bytes` */
  rewind(to: number): void
  drop(): void
  /** The registry took the upload as this blob. Its own hash decides whether that is what the copy is. */
  accepted(blob: RegistryBlob): void
}

/** Copies of what local clients push, so that this node is the first holder of a release. */
export interface PushedBlobs {
  /** An upload begins. @returns undefined if too many are followed */
  begin(registry: RegistryHost): PushCopy | undefined
  /** The registry took a blob of another repository into this one. */
  mounted(blob: RegistryBlob): void
  /** The registry took a manifest: its blobs that were pushed here are shared from now on, after the tracker's grant. */
  released(image: ImagePlan): void
}

/** What is known of one registry; for people. */
export interface RegistryFound {
  host: RegistryHost
  /** How callers turned out to authenticate: some of `token`, `introspect` and `open`, or `none` as configured. */
  kinds: string[]
  /** `not consented`: the tracker names it, this node does not. `unknown to the tracker`: the reverse. */
  state: 'shared' | 'not consented' | 'unknown to the tracker'
}

export interface Client {
  /** Address of the peer listener. With port 0 configured, the port is the assigned one. */
  readonly peerAddress: { host: string; port: number }
  /**
   * Why opening this blob would fail, as far as that is known: the tracker is off and nothing of the blob is here. Then a
   * question to the registry would only make the pull later. Undefined otherwise. Never throws.
   */
  whyNotOpen(request: Omit<BlobRequest, 'bytes'>): Promise<ShoalError | undefined>
  /**
   * Opens a blob: from the store, from a running download, or from a new one (tracker, then peers and registry).
   * @throws ShoalError with TRACKER_UNAVAILABLE, TRACKER_REFUSED, STORE_FULL, BLOB_DISTRUSTED, …: ask the registry
   * instead
   */
  open(request: BlobRequest): Promise<OpenBlob>
  /**
   * For a registry that cannot be reached: the blob's size, if this node holds or fetches the blob, saw the registry
   * accept this very credential for the repository before (`sawAccepted`), and confirmed within the last hour that
   * the blob belongs to the repository. Undefined otherwise.
   */
  authorisedWithoutRegistry(request: Omit<BlobRequest, 'bytes'>): Promise<number | undefined>
  /**
   * Whether the registry said that the blob is in the repository: to this node within the hour, or to the tracker for a grant
   * that is here or in flight. It says nothing about who may have it. Never throws.
   */
  isInRepository(request: Omit<BlobRequest, 'bytes'>): Promise<boolean>
  /**
   * The registry itself accepted the credential for this blob, now or `atMs`. Call while the blob is open here. Never
   * throws.
   */
  sawAccepted(request: BlobRequest, atMs?: number): void
  /** The registries that the tracker names, or named before a restart. This node serves none of them for that reason. */
  registriesNamed(): RegistryNamed[]
  /** The registries of this node and of the tracker, with what was found about them. */
  registriesFound(): RegistryFound[]
  /**
   * Call when `registries` of the options, or their settings, have changed.
   * @throws RegistryFileError, AuthorityBundleError for token keys; those of before count then
   */
  registriesChanged(): void
  /** Called for every manifest that passes. Plans only; returns at once and never throws. */
  plan(plan: ImagePlan): void
  readonly pushes: PushedBlobs
  readonly cache: BlobCache
  /** The blobs that this node holds or fetches. */
  progress(): BlobProgress[]
  /** Reads only. */
  status(): ClientStatus
  /**
   * Lets the tracker dial this node back, and opens a link to one other node, for people who look for a fault.
   * @param node that other node; absent: the one that the tracker heard of last
   * @throws TrackerUnavailableError, TrackerRefusedError (ROUTE_UNKNOWN: an older tracker)
   */
  reach(node?: NodeId): Promise<Reach>
  /** Changes count from now on, also for transfers that run. */
  readonly limits: { change(limits: ClientLimits): void }
  /** Resolves when the tracker has taken this node in; never rejects. */
  joined(): Promise<void>
  close(): Promise<void>
}

/** What may change while the client runs: bounds, and where its machine stands. */
export interface ClientLimits {
  /** Absent: nowhere. The tracker hears of a change with the next heartbeat. */
  location?: NodeLocation
  /** For the whole node, all blobs and peers together; 0 or absent: no limit. */
  uploadBytesPerSecondMax?: number
  /** Registry and peers together; 0 or absent: no limit. */
  downloadBytesPerSecondMax?: number
  /** What this node fetches from registries; 0 or absent: no limit. What the proxy passes through is not counted. */
  registryBytesPerSecondMax?: number
  /** Connections that other nodes opened to this one, at most ACCEPTED_MAX, which it is if absent. */
  peerConnectionsMax?: number
  /** How long the blobs of an image together wait for a tracker that answers but has not granted the pull yet. */
  trackerPatienceMs: number
}

export interface ClientOptions extends ClientLimits {
  /** Undefined: the tracker that `shoal join` found. */
  trackerUrl: string | undefined
  /** PEM of authorities to trust for the tracker, in addition to the system's. */
  trackerCaPem?: string
  /** For calls to the tracker, where it is the only way. Peers are always reached directly. */
  upstreamProxy?: UpstreamProxy | undefined
  /** Needed for the first start only; later the node certificate in `dataDir` is enough. */
  joinToken?: string
  /** Holds the node key (0600), the node certificate, what the node remembers and the blob store. */
  dataDir: string
  /** Port 0 takes a free one. */
  peerListen: { host: string; port: number }
  registries: RegistryClients
  /** The owner intercepts what the tracker names, at its next start. */
  registriesFromTracker?: boolean
  cacheBytesMax: number
  /** What stays free on the disk of dataDir; absent: DISK_RESERVE_BYTES. */
  diskReserveBytes?: number
  /** 32 bytes. Blobs on the disk are encrypted; blobs there under another secret, or none, are dropped. */
  cacheSecret?: Uint8Array
  /** Share of blobs that are hashed as a whole although two nodes vouch for their piece hashes. Default: one in eight. */
  auditedShare?: number
  /** When a reader no longer waits for the swarm, in ms; tests pass their own. */
  stallLimits?: { ms: number; promisedMs: number }
  /** Called with each answer of the tracker to a heartbeat: whether the owner is to stand aside. */
  onTrackerPause?: (isPaused: boolean) => void
  /** The newest wire version that this node speaks (core/wire-version.ts). Absent: that of this release. */
  wire?: number
  log: Logger
  /** Absent: conditions are logged and not shown. */
  conditions?: Conditions
  /** Absent: defects are logged and not counted. */
  defects?: Defects
}
