import { randomBytes } from 'node:crypto'
import { BLOCKS_MAX, type BlocksNews } from '../../core/blocks-api.ts'
import type { Digest } from '../../core/digest.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { RefusedError } from '../errors.ts'
import type { BlockRecord, BlocksRecord, BlockTarget } from '../store/blocks.ts'
import type { ActedBy, Store } from '../store/store.ts'

/** Bytes of a block's id. */
const ID_BYTES = 8

/** A blob in a repository. */
interface BlockedBlob {
  registry: string
  repository: string
  digest: Digest
}

/**
 * Repositories and blobs that are not to be shared. Nodes hear of them with their next heartbeat. Invariant: what is in
 * memory is in the store.
 */
export class Blocks {
  readonly #store: Store
  #record: BlocksRecord = { inForce: [], versions: new Map() }
  #keys = new Set<string>()

  private constructor(store: Store) {
    this.#store = store
  }

  static async load(store: Store): Promise<Blocks> {
    const blocks = new Blocks(store)
    await blocks.reload()
    return blocks
  }

  list(): readonly BlockRecord[] {
    return this.#record.inForce
  }

  isRepositoryBlocked(cluster: ClusterId, { registry, repository }: Omit<BlockedBlob, 'digest'>): boolean {
    return this.#keys.has(`${cluster} ${registry}/${repository}`)
  }

  isDigestBlocked(cluster: ClusterId, digest: Digest): boolean {
    return this.#keys.has(`${cluster} ${digest}`)
  }

  /** @throws RefusedError BLOCKED */
  check(cluster: ClusterId, blob: BlockedBlob): void {
    this.checkRepository(cluster, blob)
    this.checkDigest(cluster, blob.digest)
  }

  /** @throws RefusedError BLOCKED */
  checkRepository(cluster: ClusterId, repository: Omit<BlockedBlob, 'digest'>): void {
    if (this.isRepositoryBlocked(cluster, repository))
      throw new RefusedError('BLOCKED', 'the repository is blocked in this cluster')
  }

  /** @throws RefusedError BLOCKED */
  checkDigest(cluster: ClusterId, digest: Digest): void {
    if (this.isDigestBlocked(cluster, digest))
      throw new RefusedError('BLOCKED', 'the blob is blocked in this cluster')
  }

  /**
   * The list for a node that knows another one; undefined: it knows it, or heard of a newer one from another tracker, from
   * which this one has not heard yet.
   * @param known undefined: none
   */
  newsFor(cluster: ClusterId, known: number | undefined): BlocksNews | undefined {
    const version = this.#record.versions.get(cluster) ?? 0
    if (known !== undefined && known >= version) return undefined
    const inForce = this.#record.inForce.filter((it) => it.cluster === cluster)
    return { version, list: inForce.map(({ target }) => target) }
  }

  /** @returns the block, also one that was in force already @throws RefusedError BLOCKS_TOO_MANY */
  async add(cluster: ClusterId, target: BlockTarget, by: ActedBy): Promise<BlockRecord> {
    const inForce = this.#record.inForce.filter((it) => it.cluster === cluster)
    const text = textOf(target)
    const before = inForce.find((it) => textOf(it.target) === text)
    if (before !== undefined) return before
    if (inForce.length >= BLOCKS_MAX)
      throw new RefusedError('BLOCKS_TOO_MANY', `the cluster has ${BLOCKS_MAX} blocks; remove some first`)
    const block = { id: randomBytes(ID_BYTES).toString('hex'), cluster, target, atMs: by.nowMs }
    const action = target.kind === 'digest' ? 'blob blocked' : 'repository blocked'
    await this.#store.addBlock(block, { atMs: by.nowMs, actor: by.actor, action, cluster, target: text })
    await this.reload()
    return block
  }

  /** @throws RefusedError BLOCK_UNKNOWN */
  async remove(id: string, by: ActedBy): Promise<void> {
    const block = this.#record.inForce.find((it) => it.id === id)
    const entry = { atMs: by.nowMs, actor: by.actor, action: 'block removed' }
    const isRemoved =
      block !== undefined &&
      (await this.#store.removeBlock(id, { ...entry, cluster: block.cluster, target: textOf(block.target) }))
    if (!isRemoved) throw new RefusedError('BLOCK_UNKNOWN', `no block ${id} is in force`)
    await this.reload()
  }

  /** Takes up what is in the store, also what another tracker put there. */
  async reload(): Promise<void> {
    this.#record = await this.#store.blocks()
    this.#keys = new Set(this.#record.inForce.map(({ cluster, target }) => `${cluster} ${textOf(target)}`))
  }
}

/** As people name it. */
export function textOf(target: BlockTarget): string {
  return target.kind === 'digest' ? target.digest : `${target.registry}/${target.repository}`
}
