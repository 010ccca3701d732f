import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { mkdir, readdir, rename, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureFolder, openOwnFile, readOwnFile } from '../../core/data-folder.ts'
import { DISK_RESERVE_BYTES } from '../../core/disk-space.ts'
import { isNewer } from '../../core/format-version.ts'
import { allPieces, isSwarmId, pieceLayout, type SwarmId } from '../../core/metainfo.ts'
import { StoreFullError } from '../errors.ts'
import { Bitfield } from './bitfield.ts'
import type { CacheKey } from './blob-cipher.ts'
import { BLOB_VERSION, blobState } from './blob-state.ts'
import { inEvictionOrder } from './eviction.ts'
import { PieceHashes } from './piece-hashes.ts'
import { lackOf, PRESSURE_EVICTIONS_MAX, PUSHED_SHARE_MAX, type Room, type StoreLimits } from './room.ts'
import { type BlobIdentity, type PushedFile, StoredBlob } from './stored-blob.ts'
import { UncleanBlobs } from './unclean-blobs.ts'

export { StoredBlob } from './stored-blob.ts'

const PUSHED_PREFIX = 'pushed-'

/** What the store does not know by itself about its blobs. */
export interface Standing {
  /** Never evicted. */
  isPinned(blob: StoredBlob): boolean
  /** Other nodes that have the whole blob; undefined: not known. */
  others(blob: StoredBlob): number | undefined
}

/**
 * The node's blobs on disk, bounded by `#limits`; eviction.ts says which idle blob makes room first. Only folders with
 * the names of blobs are the store's own: whatever else is there neither counts nor is touched.
 */
export class BlobStore {
  readonly #directory: string
  #limits: StoreLimits
  standing: Standing = { isPinned: () => false, others: () => undefined }
  readonly #cacheKey: CacheKey | undefined
  readonly #blobs = new Map<SwarmId, StoredBlob>()
  /** Blobs of a newer Shoal that were dropped when the store was opened. */
  newerDropped = 0
  readonly unclean = new UncleanBlobs((blob) => this.#blobs.set(blob.swarm, blob))
  /** Blobs whose folders are being removed. */
  readonly #leaving = new Map<SwarmId, Promise<void>>()
  #lastCreated: Promise<unknown> = Promise.resolve()
  /** Reserved for blobs that are being pushed. */
  #pushedBytes = 0

  private constructor(directory: string, limits: StoreLimits, cacheKey: CacheKey | undefined) {
    this.#directory = directory
    this.#limits = limits
    this.#cacheKey = cacheKey
  }

  /**
   * Opens the store and every blob with a readable state. Removes all other blobs: those of a newer Shoal too, those that are
   * encrypted under another cache key, or encrypted when there is no key, and pushes that were cut off. Blobs that were written
   * to before the node ended uncleanly enter the store once they were checked.
   * @throws DataFolderError when the folder is a link, or others can write to it; no file is touched then
   */
  static async open(
    directory: string,
    bytesMax: number,
    cacheKey?: CacheKey,
    reserveBytes = DISK_RESERVE_BYTES,
  ): Promise<BlobStore> {
    ensureFolder(directory, { isPart: true })
    const store = new BlobStore(directory, { bytesMax, reserveBytes }, cacheKey)
    for (const name of (await readdir(directory)).filter(isOwnName)) {
      const path = join(directory, name)
      const restored = isSwarmId(name) ? restoreBlob(path, name, cacheKey) : undefined
      if (restored === 'newer') store.newerDropped += 1
      if (restored === undefined || restored === 'newer') await rm(path, { recursive: true, force: true })
      else if (restored.isClean) store.#blobs.set(restored.blob.swarm, restored.blob)
      else store.unclean.add(restored.blob)
    }
    return store
  }

  all(): StoredBlob[] {
    return [...this.#blobs.values()]
  }

  get(swarm: SwarmId): StoredBlob | undefined {
    return this.#blobs.get(swarm)
  }

  /**
   * Makes room and creates an empty blob.
   * @param isIdle tells which blobs may be evicted
   * @throws StoreFullError when evicting all idle blobs would not make enough room
   */
  create(
    blob: BlobIdentity,
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<{ created: StoredBlob; evicted: SwarmId[] }> {
    return this.#inTurn(() => this.#createNow(blob, isIdle))
  }

  /** One after the other: two at once would both count on the same room. */
  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const working = this.#lastCreated.then(work)
    this.#lastCreated = working.catch(() => undefined)
    return working
  }

  async #createNow(
    blob: BlobIdentity,
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<{ created: StoredBlob; evicted: SwarmId[] }> {
    const evicted = await this.#makeRoom(blob.bytes, isIdle)
    const directory = join(this.#directory, blob.swarm)
    // Its last copy may be on its way out, and still write there.
    await this.#leaving.get(blob.swarm)?.catch(() => undefined)
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory, { mode: 0o700 })
    const created = new StoredBlob(directory, blob, { cacheKey: this.#cacheKey })
    this.#blobs.set(blob.swarm, created)
    return { created, evicted }
  }

  async createPushed(): Promise<PushedFile> {
    const sealedAs = randomBytes(20).toString('hex') as SwarmId
    const directory = join(this.#directory, `${PUSHED_PREFIX}${sealedAs}`)
    await mkdir(directory, { mode: 0o700 })
    const fd = openSync(join(directory, 'data'), 'wx+', 0o600)
    const file = { fd, bytes: Number.MAX_SAFE_INTEGER, key: this.#cacheKey?.keyFor(sealedAs) }
    return { directory, sealedAs, file }
  }

  /**
   * Makes room for more bytes of a pushed blob. @returns the blobs that made room
   * @throws StoreFullError, also where pushed blobs would take more than their share
   */
  reservePushed(bytes: number, isIdle: (blob: StoredBlob) => boolean): Promise<SwarmId[]> {
    return this.#inTurn(async () => {
      if (this.#pushedBytes + bytes > this.#limits.bytesMax * PUSHED_SHARE_MAX)
        throw new StoreFullError('pushed blobs hold their share of cacheBytesMax', 'cache')
      const evicted = await this.#makeRoom(bytes, isIdle)
      this.#pushedBytes += bytes
      return evicted
    })
  }

  async discardPushed({ directory, file }: PushedFile): Promise<void> {
    closeSync(file.fd)
    await rm(directory, { recursive: true, force: true })
  }

  releasePushed(bytes: number): void {
    this.#pushedBytes -= bytes
  }

  /** Takes over a pushed blob's file, whole and matched against its digest. @returns undefined if the blob is here */
  adopt(
    blob: BlobIdentity,
    { directory: from, sealedAs, file }: PushedFile,
  ): Promise<StoredBlob | undefined> {
    return this.#inTurn(async () => {
      if (this.#blobs.has(blob.swarm)) return undefined
      const directory = join(this.#directory, blob.swarm)
      await this.#leaving.get(blob.swarm)?.catch(() => undefined)
      await rm(directory, { recursive: true, force: true })
      await rename(from, directory)
      const identity = file.key === undefined ? blob : { ...blob, sealedAs }
      const { pieceCount } = pieceLayout(blob.bytes)
      const [have, hashes] = [Bitfield.full(pieceCount), new PieceHashes(pieceCount)]
      // If the node ends uncleanly, the blob is hashed once more: its bytes may not have reached the disk yet.
      const restored = { fd: file.fd, have, hashes, isClean: false }
      const stored = new StoredBlob(directory, identity, { cacheKey: this.#cacheKey, restored })
      stored.isMatched = true
      stored.isHashed = true
      await stored.save()
      this.#blobs.set(blob.swarm, stored)
      return stored
    })
  }

  async remove(swarm: SwarmId): Promise<void> {
    const blob = this.#blobs.get(swarm)
    this.#blobs.delete(swarm)
    if (!blob) return
    const leaving = blob.delete().finally(() => this.#leaving.delete(swarm))
    this.#leaving.set(swarm, leaving)
    await leaving
  }

  async close(): Promise<void> {
    await Promise.all([this.unclean.close(), ...this.all().map((blob) => blob.close())])
  }

  get limits(): Readonly<StoreLimits> {
    return this.#limits
  }

  /** For the next blobs. Call `relieve` for those that are too much now. */
  resize(limits: StoreLimits): void {
    this.#limits = limits
  }

  /**
   * Makes as much room as the limits ask for, at most PRESSURE_EVICTIONS_MAX blobs at once: others may have filled the disk, or the
   * cache may have become smaller. @returns the blobs that made room, and what is still lacking
   */
  relieve(
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<{ evicted: SwarmId[]; lack: StoreFullError | undefined }> {
    return this.#inTurn(async () => {
      const evicted: SwarmId[] = []
      for (;;) {
        const lack = lackOf({ ...(await this.#room(isIdle)), bytes: 0 })
        const victim = lack && evicted.length < PRESSURE_EVICTIONS_MAX ? this.#victim(isIdle) : undefined
        if (!victim) return { evicted, lack }
        evicted.push(victim.swarm)
        await this.remove(victim.swarm)
      }
    })
  }

  /** Whether a blob of this size would fit if all went that may go; checks one limit alone. */
  async couldFit(
    bytes: number,
    limit: StoreFullError['limit'],
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<boolean> {
    const { usedBytes, freeBytes, bytesMax, reserveBytes } = await this.#room(isIdle)
    const mayGo = this.inEvictionOrder(isIdle).reduce((sum, { layout }) => sum + layout.blobBytes, 0)
    if (limit === 'cache') return usedBytes - mayGo + bytes <= bytesMax
    return freeBytes + mayGo >= bytes + reserveBytes
  }

  /** The blobs that may go, in the order in which they make room. */
  inEvictionOrder(isIdle: (blob: StoredBlob) => boolean): StoredBlob[] {
    const { isPinned, others } = this.standing
    return inEvictionOrder(
      this.all().filter((blob) => isIdle(blob) && !isPinned(blob)),
      {
        of: (blob) => ({
          bytes: blob.layout.blobBytes,
          usedAtMs: blob.usedAtMs,
          isWhole: blob.isComplete,
          others: others(blob),
        }),
        nowMs: Date.now(),
        bytesMax: this.#limits.bytesMax,
      },
    )
  }

  /** Checked only when it goes: a blob that was idle before a wait may have a reader since. */
  #victim(isIdle: (blob: StoredBlob) => boolean): StoredBlob | undefined {
    return this.inEvictionOrder(isIdle)[0]
  }

  /** @throws StoreFullError */
  async #makeRoom(bytes: number, isIdle: (blob: StoredBlob) => boolean): Promise<SwarmId[]> {
    const evicted: SwarmId[] = []
    for (;;) {
      const lack = lackOf({ ...(await this.#room(isIdle)), bytes })
      if (lack === undefined) return evicted
      // Nothing is evicted for a blob that would not fit into an empty store.
      const victim = bytes > this.#limits.bytesMax ? undefined : this.#victim(isIdle)
      if (!victim) throw lack
      evicted.push(victim.swarm)
      await this.remove(victim.swarm)
    }
  }

  async #room(isIdle: (blob: StoredBlob) => boolean): Promise<Omit<Room, 'bytes'>> {
    const disk = await statfs(this.#directory)
    const blobs = this.all()
    return {
      usedBytes: [...blobs, ...this.unclean.all()].reduce(
        (sum, blob) => sum + blob.layout.blobBytes,
        this.#pushedBytes,
      ),
      ...this.#limits,
      // What running downloads will still write is no longer free.
      freeBytes: blobs
        .filter((blob) => !isIdle(blob))
        .reduce((free, { have, layout }) => {
          return free - Math.max(0, layout.blobBytes - have.count * layout.pieceBytes)
        }, disk.bavail * disk.bsize),
    }
  }
}

function isOwnName(name: string): boolean {
  return isSwarmId(name.startsWith(PUSHED_PREFIX) ? name.slice(PUSHED_PREFIX.length) : name)
}

function restoreBlob(
  directory: string,
  swarm: SwarmId,
  cacheKey: CacheKey | undefined,
): { blob: StoredBlob; isClean: boolean } | 'newer' | undefined {
  try {
    ensureFolder(directory, { isPart: true })
    const content: unknown = JSON.parse(readOwnFile(join(directory, 'state.json')) ?? '')
    if (isNewer(content, BLOB_VERSION)) return 'newer'
    const state = blobState.parse(content)
    if (state.cacheKey !== cacheKey?.id) return undefined
    const { pieceCount } = pieceLayout(state.bytes)
    const hashes = new PieceHashes(pieceCount)
    hashes.raiseEpoch(state.epoch)
    for (const batch of state.batches) hashes.add(batch)
    const have = Bitfield.fromBytes(Buffer.from(state.pieces, 'base64url'), pieceCount)
    // A truncated file lacks pieces that its state names.
    const fd = openOwnFile(join(directory, 'data'), constants.O_RDWR)
    if (fd === undefined) return undefined
    if (fstatSync(fd).size < endOfLast(have, state.bytes)) {
      closeSync(fd)
      return undefined
    }
    const key = { registry: state.registry, digest: state.digest }
    const { bytes, repository, sealedAs } = state
    const isClean = state.isClean ?? false
    const blob = new StoredBlob(
      directory,
      { swarm, key, bytes, repository, sealedAs },
      { cacheKey, restored: { fd, have, hashes, isClean } },
    )
    blob.isMatched = state.isMatched
    blob.isHashed = state.isHashed ?? false
    if (state.piecesSha1 !== undefined) blob.piecesSha1 = Buffer.from(state.piecesSha1, 'base64url')
    blob.usedAtMs = state.usedAtMs
    return { blob, isClean }
  } catch {
    // With an unreadable state, nothing in the file can be trusted; the pieces are fetched again.
    return undefined
  }
}

/** Bytes up to the end of the last piece that is there. */
function endOfLast(have: Bitfield, blobBytes: number): number {
  const layout = pieceLayout(blobBytes)
  let last = -1
  for (const piece of allPieces(layout)) if (have.has(piece)) last = piece
  return Math.min((last + 1) * layout.pieceBytes, blobBytes)
}
