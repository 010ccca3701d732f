import type { Logger } from 'pino'
import type { Conditions } from '../core/conditions.ts'
import type { Defects } from '../core/defects.ts'
import type { Digest } from '../core/digest.ts'
import type { RegistryClients } from '../core/registry-client.ts'
import type { RegistryHost, Repository } from '../core/repository.ts'
import type { Credential } from '../core/tracker-api.ts'

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
  /**
   * The bytes [start, end) in order, each verified before it is yielded. A chunk is valid until the next is
   * requested.
   * @throws BlobUnavailableError when neither the swarm nor the registry yields a piece in time
   * @throws BlobDistrustedError when the whole blob does not match its digest; the last byte was then held back
   */
  read(start: number, end: number): AsyncIterable<Uint8Array>
  close(): void
}

/** Progress of one blob on this node since its first request; bytes of the blob, never of the wire. */
export interface BlobProgress extends BlobKey {
  repository: Repository
  bytes: number
  bytesFromRegistry: number
  bytesFromPeers: number
  /** Bytes of blocks handed to peers' connections, repeats included. */
  bytesToPeers: number
  state: 'downloading' | 'complete' | 'failed'
  peers: number
}

export interface Client {
  /** Address of the peer listener. With port 0 configured, the port is the assigned one. */
  readonly peerAddress: { host: string; port: number }
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
   * The registry itself accepted the credential for this blob, now or `atMs`. Call while the blob is open here. Never
   * throws.
   */
  sawAccepted(request: BlobRequest, atMs?: number): void
  /** A request with a credential passed. For a registry of kind `none` that ends its sharing. Never throws. */
  sawCredential(registry: RegistryHost): void
  /** Called for every manifest that passes. Plans only; returns at once and never throws. */
  plan(plan: ImagePlan): void
  progress(): BlobProgress[]
  close(): Promise<void>
}

export interface ClientOptions {
  trackerUrl: string
  /** PEM of authorities to trust for the tracker, in addition to the system's. */
  trackerCaPem?: string
  /** Needed for the first start only; later the node certificate in `dataDir` is enough. */
  joinToken?: string
  /** Holds the node key (0600), the node certificate and the blob store. */
  dataDir: string
  /** Port 0 takes a free one. */
  peerListen: { host: string; port: number }
  registries: RegistryClients
  cacheBytesMax: number
  /** 32 bytes. Blobs on the disk are encrypted; blobs there under another secret, or none, are dropped. */
  cacheSecret?: Uint8Array
  /** For the whole node, all blobs and peers together; 0 or absent: no limit. */
  uploadBytesPerSecondMax?: number
  /** Registry and peers together; 0 or absent: no limit. */
  downloadBytesPerSecondMax?: number
  /** Share of blobs that are hashed as a whole although two nodes vouch for their piece hashes. Default: one in eight. */
  auditedShare?: number
  /** How long a pull waits for the tracker before it goes straight to the registry. */
  trackerPatienceMs: number
  log: Logger
  /** Absent: conditions are logged and not shown. */
  conditions?: Conditions
  /** Absent: defects are logged and not counted. */
  defects?: Defects
}
