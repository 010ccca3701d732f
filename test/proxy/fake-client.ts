import type {
  BlobCache,
  BlobProgress,
  BlobRequest,
  BytesBySource,
  Client,
  ClientLimits,
  ClientStatus,
  ImagePlan,
  OpenBlob,
  PushedBlobs,
  Reach,
  RegistryFound,
} from '../../client/index.ts'
import { ShoalError } from '../../core/errors.ts'
import type { RegistryNamed } from '../../core/registries-api.ts'

/** Not one of the client's own, so that nothing but being a ShoalError counts. */
export class NoSwarmError extends ShoalError {
  readonly code = 'TRACKER_UNAVAILABLE'
}

type Read = (start: number, end: number, blob: FakeBlob) => AsyncIterable<Uint8Array>

/** A client that holds what a test puts into it, and counts who opens and closes. */
export class FakeClient implements Client {
  readonly peerAddress = { host: '127.0.0.1', port: 1 }
  /** By digest. Absent: `open` fails as it does without a tracker. */
  readonly held = new Map<string, { bytes: number; read: Read }>()
  readonly opened: FakeBlob[] = []
  readonly requests: BlobRequest[] = []
  readonly plans: ImagePlan[] = []
  /** What `authorisedWithoutRegistry` answers. */
  standing: number | undefined
  isClosed = false

  hold(digest: string, content: Buffer): void {
    this.held.set(digest, { bytes: content.length, read: inChunks(content) })
  }

  async open(request: BlobRequest): Promise<OpenBlob> {
    this.requests.push(request)
    const blob = this.held.get(request.digest)
    if (blob === undefined) throw new NoSwarmError('no tracker in this test')
    const opened = new FakeBlob(blob)
    this.opened.push(opened)
    return opened
  }

  /** What `whyNotOpen` answers. */
  whyNot: ShoalError | undefined
  async whyNotOpen(): Promise<ShoalError | undefined> {
    return this.whyNot
  }

  async authorisedWithoutRegistry(): Promise<number | undefined> {
    return this.standing
  }

  /** What `isInRepository` answers. */
  isMember = false
  async isInRepository(): Promise<boolean> {
    return this.isMember
  }

  readonly accepted: BlobRequest[] = []
  sawAccepted(request: BlobRequest): void {
    this.accepted.push(request)
  }

  readonly changedLimits: ClientLimits[] = []
  readonly limits = { change: (limits: ClientLimits) => void this.changedLimits.push(limits) }

  readonly cache: BlobCache = {
    limits: { cacheBytesMax: 0, diskReserveBytes: 0 },
    list: () => [],
    pins: () => [],
    pin: () => undefined,
    unpin: () => undefined,
    prune: async () => [],
    verify: async () => undefined,
    resize(limits) {
      Object.assign(this.limits, limits)
    },
  }

  registriesNamed(): RegistryNamed[] {
    return []
  }
  found: RegistryFound[] = []
  registriesFound(): RegistryFound[] {
    return this.found
  }
  registriesChanged(): void {}

  plan(plan: ImagePlan): void {
    this.plans.push(plan)
  }

  progress(): BlobProgress[] {
    return []
  }

  isJoined = true
  status(): ClientStatus {
    return {
      ...(this.isJoined ? { joined: { cluster: 'c0', node: 'n0', sinceMs: 1000 } } : {}),
      tracker: {
        url: 'https://tracker.example:7443',
        state: 'connected',
        sinceMs: 2000,
        calls: { answered: 3, refused: 1, failed: 2 },
      },
      peers: { connected: 4, refused: 1, unreachable: 2, events: { refused: 5, unreachable: 6 } },
      held: { blobs: 1, bytes: 10, bytesMax: 100, pinnedBytes: 0, evictions: 7 },
      moved: {
        ...{ bytesFromRegistry: 3, bytesFromPeers: 7, bytesFromNear: 4, bytesFromFar: 2 },
        ...{ bytesFromCache: 11, bytesToPeers: 5 },
      },
      location: { zone: 'east', rack: '' },
    }
  }

  reached: Reach = { own: null, other: null, nodes: 1 }
  async reach(): Promise<Reach> {
    return this.reached
  }

  /** Nothing is copied unless a test gives something. */
  pushes: PushedBlobs = { begin: () => undefined, mounted: () => undefined, released: () => undefined }

  readonly joining = Promise.withResolvers<void>()
  async joined(): Promise<void> {
    if (!this.isJoined) await this.joining.promise
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

export class FakeBlob implements OpenBlob {
  readonly bytes: number
  readonly #read: Read
  readonly #closed = Promise.withResolvers<void>()
  readonly sources: BytesBySource = { peers: 0, registry: 0, cache: 0 }
  closes = 0
  /** Why its rest comes from the registry. */
  fallback: string | undefined
  /** Bytes that were asked for and yielded. */
  yielded = 0

  constructor({ bytes, read }: { bytes: number; read: Read }) {
    this.bytes = bytes
    this.#read = read
  }

  async *read(start: number, end: number): AsyncIterable<Uint8Array> {
    for await (const chunk of this.#read(start, end, this)) {
      this.yielded += chunk.length
      this.sources.peers += chunk.length
      yield chunk
    }
  }

  /** Settles when the blob is closed. */
  get closed(): Promise<void> {
    return this.#closed.promise
  }

  close(): void {
    this.closes++
    this.#closed.resolve()
  }
}

const CHUNK_BYTES = 64 * 1024

function inChunks(content: Buffer): Read {
  return async function* (start, end) {
    for (let at = start; at < end; at += CHUNK_BYTES) {
      yield content.subarray(at, Math.min(at + CHUNK_BYTES, end))
    }
  }
}
