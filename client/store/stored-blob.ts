import { closeSync, fdatasync, openSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { z } from 'zod'
import type { HashBatch } from '../../core/hash-batch.ts'
import { allPieces, type PieceLayout, pieceLayout, type SwarmId } from '../../core/metainfo.ts'
import { hashBatchToJson, type repositorySchema } from '../../core/tracker-api.ts'
import type { BlobKey } from '../client.ts'
import { StoreClosedError } from '../errors.ts'
import { Bitfield } from './bitfield.ts'
import type { CacheKey } from './blob-cipher.ts'
import { type BlobFile, readFile as readBlobFile, readFileSync as readBlobFileSync } from './blob-file.ts'
import { BLOB_VERSION, type blobState } from './blob-state.ts'
import { ColdReads } from './cold-reads.ts'
import { PieceHashes } from './piece-hashes.ts'
import { PieceWrites } from './piece-writes.ts'
import { StateFile } from './state-file.ts'

/** What a blob in the store is. */
export interface BlobIdentity {
  swarm: SwarmId
  key: BlobKey
  bytes: number
  repository: z.output<typeof repositorySchema>
  /** The name that its cache key is derived from, if that is not the swarm's: it was written before its digest was known. */
  sealedAs?: SwarmId | undefined
}

/** A file of the store for a blob that is being pushed. It is gone after a restart. */
export interface PushedFile {
  directory: string
  sealedAs: SwarmId
  /** Its `bytes` are set once they are known. */
  file: BlobFile
}

const toDisk = promisify(fdatasync)

/**
 * A blob's verified pieces on disk: `<dir>/<swarm id>/data` (sparse until complete) and `state.json`, replaced
 * atomically. Invariant: a piece is in `have` only after its bytes are in the file. The state file never names a
 * piece whose bytes are missing, so a killed node resumes with its pieces. They are hashed again first
 * (store/unclean-blobs.ts): a machine that failed may have kept the state and lost the bytes.
 */
export class StoredBlob {
  readonly swarm: SwarmId
  readonly key: BlobKey
  readonly layout: PieceLayout
  readonly hashes: PieceHashes
  readonly have: Bitfield
  readonly writes = new PieceWrites((piece) => this.have.has(piece))
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
  readonly #sealedAs: SwarmId | undefined
  #isClosed = false
  #pins = 0
  readonly #stateFile: StateFile
  #wasClean: boolean
  readonly #coldReads = new ColdReads()

  constructor(
    directory: string,
    blob: BlobIdentity,
    {
      cacheKey,
      restored,
    }: {
      cacheKey: CacheKey | undefined
      /** The open file is read and written. */
      restored?: { fd: number; have: Bitfield; hashes: PieceHashes; isClean: boolean }
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
    this.#sealedAs = blob.sealedAs
    this.file = { fd, bytes: blob.bytes, key: cacheKey?.keyFor(blob.sealedAs ?? blob.swarm) }
    this.#wasClean = restored?.isClean ?? false
    const text = (isLast: boolean) => JSON.stringify(this.#state(isLast))
    this.#stateFile = new StateFile(join(directory, 'state.json'), text)
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
    this.markDirty()
  }

  markDirty(): void {
    this.#stateFile.changed()
  }

  /** Writes the state file if anything changed, off the event loop. */
  save(): Promise<void> {
    return this.#stateFile.save()
  }

  #state(isLast: boolean): z.input<typeof blobState> {
    const known = new Bitfield(this.layout.pieceCount)
    for (const piece of allPieces(this.layout))
      if (this.have.has(piece) && (this.isMatched || this.hashes.has(piece))) known.add(piece)
    return {
      version: BLOB_VERSION,
      registry: this.key.registry,
      digest: this.key.digest,
      bytes: this.layout.blobBytes,
      repository: this.repository,
      epoch: this.hashes.epoch,
      batches: this.hashes.batches.map((batch: HashBatch) => hashBatchToJson(batch)),
      pieces: known.toBytes().toString('base64url'),
      isMatched: this.isMatched,
      isHashed: this.isHashed,
      isClean: isLast || this.#isClean,
      cacheKey: this.#cacheKey?.id,
      sealedAs: this.#sealedAs,
      piecesSha1: this.piecesSha1?.toString('base64url'),
      usedAtMs: this.usedAtMs,
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

  /** A complete blob that is on the disk need not be hashed again when the node is killed. @throws StoreClosedError */
  async sync(): Promise<void> {
    if (!this.isComplete || this.#isClean) return
    // A writer that comes meanwhile makes it unclean again.
    this.#wasClean = false
    this.writes.isUsed = false
    await this.withFile(({ fd }) => toDisk(fd))
    this.#wasClean = true
    this.markDirty()
  }

  /** Nothing was written since the state said that all is well. */
  get #isClean(): boolean {
    return this.#wasClean && !this.writes.isUsed
  }

  async close(): Promise<void> {
    await this.#stateFile.saveLast(!this.#isClean)
    this.#end()
  }

  /** Ends without a last save: the state on disk stays. */
  leave(): Promise<void> {
    this.#end()
    return this.#stateFile.end()
  }

  async delete(): Promise<void> {
    await this.leave()
    await rm(this.#directory, { recursive: true, force: true })
  }

  #end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#pins === 0) closeSync(this.file.fd)
  }
}
