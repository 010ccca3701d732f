import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { mkdir, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import { ensureFolder, openOwnFile, readOwnFile, replaceFile } from '../../core/data-folder.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import { allPieces, isSwarmId, type PieceLayout, pieceLayout, type SwarmId } from '../../core/metainfo.ts'
import { hashBatchToJson, type repositorySchema } from '../../core/tracker-api.ts'
import type { BlobKey } from '../client.ts'
import { StoreClosedError } from '../errors.ts'
import { Bitfield } from './bitfield.ts'
import type { CacheKey } from './blob-cipher.ts'
import { type BlobFile, readFile as readBlobFile, readFileSync as readBlobFileSync } from './blob-file.ts'
import { blobState } from './blob-state.ts'
import { ColdReads } from './cold-reads.ts'
import { PieceHashes } from './piece-hashes.ts'
import { lackOf, type Room } from './room.ts'

/**
 * A blob's verified pieces on disk: `<dir>/<swarm id>/data` (sparse until complete) and `state.json`, replaced
 * atomically. Invariant: a piece is in `have` only after its bytes are in the file. The state file never names a
 * piece whose bytes are missing, so a killed node resumes with its pieces.
 */
export class StoredBlob {
  readonly swarm: SwarmId
  readonly key: BlobKey
  readonly layout: PieceLayout
  readonly hashes: PieceHashes
  readonly have: Bitfield
  /** Only between `pin` and its release: after that the descriptor's number may belong to another file. */
  readonly file: BlobFile
  repository: z.output<typeof repositorySchema>
  isMatched = false
  /** The whole was hashed here, so it rests on no other node's word. */
  isHashed = false
  /** SHA-1 of every piece, 20 bytes each, for stock clients; undefined until they were needed. */
  piecesSha1: Buffer | undefined
  usedAtMs = Date.now()
  readonly #directory: string
  readonly #cacheKey: CacheKey | undefined
  #isClosed = false
  #isDirty = true
  #pins = 0
  readonly #coldReads = new ColdReads()

  constructor(
    directory: string,
    blob: { swarm: SwarmId; key: BlobKey; bytes: number; repository: z.output<typeof repositorySchema> },
    {
      cacheKey,
      restored,
    }: {
      cacheKey: CacheKey | undefined
      /** The open file is read and written. */
      restored?: { fd: number; have: Bitfield; hashes: PieceHashes }
    },
  ) {
    this.#directory = directory
    this.#cacheKey = cacheKey
    this.swarm = blob.swarm
    this.key = blob.key
    this.repository = blob.repository
    this.layout = pieceLayout(blob.bytes)
    this.have = restored?.have ?? new Bitfield(this.layout.pieceCount)
    this.hashes = restored?.hashes ?? new PieceHashes(this.layout.pieceCount)
    // Exclusive: an existing file or link is not followed.
    const fd = restored?.fd ?? openSync(join(directory, 'data'), 'wx+', 0o600)
    this.file = { fd, bytes: blob.bytes, key: cacheKey?.keyFor(blob.swarm) }
  }

  /** Whole, and matched against the digest: may be served as a seed and to local requests without further checks. */
  get isComplete(): boolean {
    return this.isMatched && this.have.isFull
  }

  /** A peer got a block: the blob is in use. That alone is no reason to save the state at once. */
  served(): void {
    this.usedAtMs = Date.now()
  }

  touch(): void {
    this.usedAtMs = Date.now()
    this.#isDirty = true
  }

  markDirty(): void {
    this.#isDirty = true
  }

  /** Writes the state file if anything changed. It is small (a few KiB for most blobs), so it is written at once. */
  save(): void {
    if (!this.#isDirty || this.#isClosed) return
    this.#isDirty = false
    const known = new Bitfield(this.layout.pieceCount)
    for (let piece = 0; piece < this.layout.pieceCount; piece++) {
      const index = piece as Parameters<Bitfield['has']>[0]
      if (this.have.has(index) && (this.isMatched || this.hashes.has(index))) known.add(index)
    }
    const state: z.input<typeof blobState> = {
      version: 1,
      registry: this.key.registry,
      digest: this.key.digest,
      bytes: this.layout.blobBytes,
      repository: this.repository,
      epoch: this.hashes.epoch,
      batches: this.hashes.batches.map((batch: HashBatch) => hashBatchToJson(batch)),
      pieces: known.toBytes().toString('base64url'),
      isMatched: this.isMatched,
      isHashed: this.isHashed,
      cacheKey: this.#cacheKey?.id,
      piecesSha1: this.piecesSha1?.toString('base64url'),
      usedAtMs: this.usedAtMs,
    }
    try {
      replaceFile(join(this.#directory, 'state.json'), JSON.stringify(state))
    } catch {
      // On a full disk the previous state stays. It names fewer pieces, and none that is missing.
      this.#isDirty = true
    }
  }

  /**
   * Keeps the descriptor open until the returned function is called (once).
   * @throws StoreClosedError when the blob has been closed or deleted
   */
  pin(): () => void {
    if (this.#isClosed) throw new StoreClosedError('the blob is gone from the store')
    this.#pins += 1
    return () => {
      this.#pins -= 1
      if (this.#isClosed && this.#pins === 0) closeSync(this.file.fd)
    }
  }

  /**
   * Reads bytes for a peer or a local reader into `target` at `at`, then calls `done`: before it returns, when the
   * data is in the page cache (cold-reads.ts). Nothing is read of a blob that has left the store.
   */
  readBlock(
    target: Buffer,
    block: { at: number; length: number; position: number },
    done: (isRead: boolean) => void,
  ): void {
    if (this.#isClosed) {
      done(false)
      return
    }
    const release = this.pin()
    const wanted = { target, ...block }
    if (this.#coldReads.take()) {
      const settle = (isRead: boolean) => {
        release()
        done(isRead)
      }
      readBlobFile(this.file, wanted).then(settle, () => settle(false))
      return
    }
    const startedAtMs = performance.now()
    let isRead = false
    try {
      isRead = readBlobFileSync(this.file, wanted)
    } catch {
      // A broken disk costs this block, not the program: the peer is told that there is none.
    }
    this.#coldReads.took(performance.now() - startedAtMs)
    release()
    done(isRead)
  }

  /** Runs `work` with the file held open. @throws StoreClosedError */
  async withFile<Result>(work: (file: BlobFile) => Promise<Result>): Promise<Result> {
    const release = this.pin()
    try {
      return await work(this.file)
    } finally {
      release()
    }
  }

  close(): void {
    this.save()
    this.#end()
  }

  async delete(): Promise<void> {
    this.#end()
    await rm(this.#directory, { recursive: true, force: true })
  }

  #end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#pins === 0) closeSync(this.file.fd)
  }
}

/** The node's blobs on disk, bounded by `#bytesMax`; the least recently used idle blob is evicted first. */
export class BlobStore {
  readonly #directory: string
  readonly #bytesMax: number
  readonly #cacheKey: CacheKey | undefined
  readonly #blobs = new Map<SwarmId, StoredBlob>()
  #lastCreated: Promise<unknown> = Promise.resolve()

  private constructor(directory: string, bytesMax: number, cacheKey: CacheKey | undefined) {
    this.#directory = directory
    this.#bytesMax = bytesMax
    this.#cacheKey = cacheKey
  }

  /**
   * Opens the store and every blob with a readable state. Removes all others, and blobs that are encrypted under
   * another cache key, or encrypted when there is no key.
   * @throws DataFolderError when the folder is a link, or others can write to it; no file is touched then
   */
  static async open(directory: string, bytesMax: number, cacheKey?: CacheKey): Promise<BlobStore> {
    ensureFolder(directory, { isPart: true })
    const store = new BlobStore(directory, bytesMax, cacheKey)
    for (const name of await readdir(directory)) {
      const path = join(directory, name)
      const blob = isSwarmId(name) ? restoreBlob(path, name, cacheKey) : undefined
      if (blob) store.#blobs.set(blob.swarm, blob)
      else await rm(path, { recursive: true, force: true })
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
    blob: ConstructorParameters<typeof StoredBlob>[1],
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<{ created: StoredBlob; evicted: SwarmId[] }> {
    // One after the other: two at once would both count on the same room.
    const creating = this.#lastCreated.then(() => this.#createNow(blob, isIdle))
    this.#lastCreated = creating.catch(() => undefined)
    return creating
  }

  async #createNow(
    blob: ConstructorParameters<typeof StoredBlob>[1],
    isIdle: (blob: StoredBlob) => boolean,
  ): Promise<{ created: StoredBlob; evicted: SwarmId[] }> {
    const evicted = await this.#makeRoom(blob.bytes, isIdle)
    const directory = join(this.#directory, blob.swarm)
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory, { mode: 0o700 })
    const created = new StoredBlob(directory, blob, { cacheKey: this.#cacheKey })
    this.#blobs.set(blob.swarm, created)
    return { created, evicted }
  }

  async remove(swarm: SwarmId): Promise<void> {
    const blob = this.#blobs.get(swarm)
    this.#blobs.delete(swarm)
    await blob?.delete()
  }

  close(): void {
    for (const blob of this.#blobs.values()) blob.close()
  }

  /** @throws StoreFullError */
  async #makeRoom(bytes: number, isIdle: (blob: StoredBlob) => boolean): Promise<SwarmId[]> {
    const evicted: SwarmId[] = []
    for (;;) {
      const lack = lackOf({ ...(await this.#room()), bytes })
      if (lack === undefined) return evicted
      // Checked only now: a blob that was idle before the wait may have a reader since.
      const [victim] = this.all()
        .filter(isIdle)
        .sort((a, b) => a.usedAtMs - b.usedAtMs)
      // Nothing is evicted for a blob that would not fit into an empty store.
      if (!victim || bytes > this.#bytesMax) throw lack
      evicted.push(victim.swarm)
      await this.remove(victim.swarm)
    }
  }

  async #room(): Promise<Omit<Room, 'bytes'>> {
    const disk = await statfs(this.#directory)
    return {
      usedBytes: this.all().reduce((sum, blob) => sum + blob.layout.blobBytes, 0),
      bytesMax: this.#bytesMax,
      freeBytes: disk.bavail * disk.bsize,
    }
  }
}

function restoreBlob(
  directory: string,
  swarm: SwarmId,
  cacheKey: CacheKey | undefined,
): StoredBlob | undefined {
  try {
    ensureFolder(directory, { isPart: true })
    const state = blobState.parse(JSON.parse(readOwnFile(join(directory, 'state.json')) ?? ''))
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
    const blob = new StoredBlob(
      directory,
      { swarm, key, bytes: state.bytes, repository: state.repository },
      { cacheKey, restored: { fd, have, hashes } },
    )
    blob.isMatched = state.isMatched
    blob.isHashed = state.isHashed ?? false
    if (state.piecesSha1 !== undefined) blob.piecesSha1 = Buffer.from(state.piecesSha1, 'base64url')
    blob.usedAtMs = state.usedAtMs
    return blob
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
