import { BoundedMap } from '../../core/bounded-map.ts'
import type { Digest } from '../../core/digest.ts'
import { type ClusterId, type SwarmId, swarmIdOf } from '../../core/metainfo.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { GrantedSwarm } from '../../core/tracker-api.ts'
import type { BlobRequest, ImagePlan } from '../client.ts'
import {
  BlobDistrustedError,
  SwarmStalledError,
  TrackerRefusedError,
  TrackerUnavailableError,
} from '../errors.ts'
import type { Blocks } from '../membership/blocks.ts'
import type { Grant } from '../membership/grant.ts'
import type { Grants } from '../membership/grants.ts'
import type { Vouching } from '../origin/vouching.ts'
import type { SealedCopy } from '../store/pushed-copy.ts'
import { STALLED_MS } from './reader-patience.ts'
import type { Swarm } from './swarm.ts'
import type { Swarms } from './swarms.ts'

/** A digest whose copy from the swarm was wrong bypasses the swarm for this time. */
const DISTRUST_MS = 10 * 60 * 1000
/** Remembered wrong digests, a swarm id and a time each. */
const DISTRUSTED_MAX = 1024

export interface GrantedSwarmsOptions {
  cluster(): ClusterId | undefined
  apiPathOf(registry: RegistryHost): string | undefined
  swarms(): Swarms
  grants: Grants
  blocks: Blocks
  vouching: Vouching
  /** How long a reader waits until its stored copy was hashed, in ms; tests pass their own. */
  hashedMsMax?: number | undefined
  /** The node learned something that outlives a restart. */
  onMembership(): void
}

/** The way from a request to its swarm: the store, or the tracker's grant. Nobody gets a swarm past it. */
export class GrantedSwarms {
  readonly #options: GrantedSwarmsOptions
  readonly #distrustedUntilMs = new BoundedMap<SwarmId, number>(DISTRUSTED_MAX)

  constructor(options: GrantedSwarmsOptions) {
    this.#options = options
  }

  /** The blob comes from the registry for a while: its copy from the swarm was wrong. */
  distrust(swarm: SwarmId): void {
    this.#distrustedUntilMs.set(swarm, Date.now() + DISTRUST_MS)
  }

  /** The swarm for a local reader. @throws ShoalError: ask the registry instead */
  async open(request: BlobRequest): Promise<Swarm> {
    const { swarms } = this.#options
    const id = this.#idOf(request)
    const held = await this.#inTime(swarms().getChecked(id))
    if (held?.stored.isComplete) {
      held.access.admit(request)
      await this.#inTime(held.recheck())
      return held
    }
    const { grant, granted } = await this.#obtain(id, request)
    const swarm = await swarms()
      .ensure(id, request)
      .catch((error: unknown) => {
        this.#options.grants.returnLease(grant, granted)
        throw error
      })
    const isNews = swarm.grant !== grant
    swarm.admitReader(grant, isNews ? granted : undefined, request)
    return swarm
  }

  /** A large copy that is being hashed goes on being hashed; meanwhile the registry serves the reader. @throws SwarmStalledError */
  async #inTime<Value>(hashed: Promise<Value>): Promise<Value> {
    if (await isSettledWithin(hashed, this.#options.hashedMsMax ?? STALLED_MS)) return hashed
    throw new SwarmStalledError('the stored copy is still being hashed')
  }

  /** The blobs of an image that are not here whole. */
  missing({ registry, repository, blobs }: ImagePlan, cluster: ClusterId): ImagePlan['blobs'] {
    const apiPath = this.#options.apiPathOf(registry)
    const idOf = (blob: (typeof blobs)[number]) => swarmIdOf({ cluster, registry, apiPath, ...blob })
    const isShared = (digest: Digest) => !this.#options.blocks.whyNot({ registry, repository, digest })
    return blobs.filter(
      (blob) => isShared(blob.digest) && !this.#options.swarms().get(idOf(blob))?.stored.isComplete,
    )
  }

  /**
   * Makes this node a holder of a pushed blob, with a grant for the pusher's own credential, as for a pull.
   * @returns false if the blob is here already
   * @throws as `open`
   */
  async share(request: BlobRequest, copy: SealedCopy): Promise<boolean> {
    const { swarms, grants } = this.#options
    const id = this.#idOf(request)
    if ((await swarms().getChecked(id)) !== undefined) return false
    const { grant, granted } = await this.#obtain(id, request)
    const swarm = await swarms().adopt(id, request, copy)
    if (swarm === undefined) {
      grants.returnLease(grant, granted)
      return false
    }
    swarm.admitReader(grant, granted, request)
    // Whatever becomes of it, the blob is in the store now.
    swarm.boundary.run(() => swarm.seed(copy.pieces))
    return true
  }

  /** @throws TrackerUnavailableError, BlobBlockedError, BlobDistrustedError */
  #idOf(request: BlobRequest): SwarmId {
    const cluster = this.#options.cluster()
    if (!cluster) throw new TrackerUnavailableError('this node has not joined its cluster yet')
    this.#checkShared(request)
    const apiPath = this.#options.apiPathOf(request.registry)
    const id = swarmIdOf({ cluster, apiPath, ...request })
    if ((this.#distrustedUntilMs.get(id) ?? 0) > Date.now()) {
      throw new BlobDistrustedError('a copy of this blob from the swarm was wrong')
    }
    return id
  }

  /** @throws BlobBlockedError */
  #checkShared(request: BlobRequest): void {
    const blocked = this.#options.blocks.whyNot(request)
    if (blocked !== undefined) throw blocked
  }

  async #obtain(id: SwarmId, request: BlobRequest): Promise<{ grant: Grant; granted: GrantedSwarm }> {
    const { grants, vouching, onMembership } = this.#options
    const { grant, swarm: granted } = await grants.obtain(request)
    this.#checkShared(request)
    if (granted.swarm !== id) {
      grants.returnLease(grant, granted)
      throw new TrackerRefusedError('another swarm was granted', { trackerCode: 'SWARM', status: 200 })
    }
    // The grant may be an old one, renewed since: the tracker asked the registry when it was new.
    vouching.sawMember(request, grant.grantedAtMs)
    onMembership()
    return { grant, granted }
  }
}
