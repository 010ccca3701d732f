import type { Logger } from 'pino'
import type { Boundary } from '../../core/defects.ts'
import type { ShoalError } from '../../core/errors.ts'
import { MISMATCH_PIECES_MAX } from '../../core/mismatch-api.ts'
import type { CompleteResponse } from '../../core/tracker-api.ts'
import { BlobDistrustedError, BlobUnavailableError } from '../errors.ts'
import type { TrackerClient } from '../membership/tracker-client.ts'
import type { RegistryAccess } from '../origin/registry-access.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { Verifier } from '../store/verifier.ts'
import type { AnnounceablePieces } from './announceable-pieces.ts'
import type { DigestCheck } from './digest-check.ts'
import { findWrongPiece, type WrongPiece } from './find-wrong-piece.ts'

/** Time to look for the wrong piece of a blob that does not match its digest. */
const FIND_WRONG_PIECE_MS_MAX = 10 * 60_000

type TellSha1 = (hashes: Buffer) => Promise<unknown>

/** The swarm as its completion sees it. */
export interface CompletionHost {
  /** The pieces match the digest. */
  onMatched(): void
  fail(reason: ShoalError): void
  /** Reading or writing the file failed. */
  failWriting(cause: unknown): void
  /** Resolves when the hashes of the pieces that this node fetched are published, or the tracker refused them. */
  publish(): Promise<void>
  servesStockClients(): boolean
  raiseEpoch(epoch: number): void
  learnBatches(batches: CompleteResponse['batches']): void
}

export interface CompletionParts {
  stored: StoredBlob
  pieces: AnnounceablePieces
  digestCheck: DigestCheck
  access: RegistryAccess
  tracker: TrackerClient
  verifier: Verifier
  log: Logger
  /** The swarm's boundary, for work that nobody awaits. */
  boundary: Boundary
  host: CompletionHost
}

/**
 * Completes a blob whose pieces are all stored: matches it against its digest, then reports to the tracker that it
 * matched, or whose hashes were wrong.
 */
export class Completion {
  readonly #parts: CompletionParts
  #isFinishing = false
  #rechecking: Promise<void> | undefined

  constructor(parts: CompletionParts) {
    this.#parts = parts
  }

  /** Hashes the whole blob, unless two other nodes' matches make its piece hashes enough; then reports. */
  async finish(): Promise<void> {
    const { stored, digestCheck, host, boundary } = this.#parts
    if (this.#isFinishing || stored.isMatched) return
    this.#isFinishing = true
    try {
      const isHashed = digestCheck.isNeeded
      if (!(await digestCheck.isMatched())) {
        boundary.run(() => this.#reportWrongPiece())
        host.fail(new BlobDistrustedError('the blob does not match its digest'))
        return
      }
      stored.isMatched = true
      stored.isHashed = isHashed
      stored.markDirty()
      host.onMatched()
      // Nobody waits for it. Where it fails, the blob is hashed again after an unclean end.
      void stored.sync().catch(() => undefined)
      await this.report(isHashed ? 'whole' : 'pieces')
    } catch (cause) {
      host.failWriting(cause)
    } finally {
      this.#isFinishing = false
    }
  }

  /** The blob is matched: tells the tracker, once the hashes of this node are published. */
  async report(matched: 'whole' | 'pieces'): Promise<void> {
    const { host, boundary } = this.#parts
    await host.publish()
    const tellSha1 = await this.#report(matched)
    // Nobody waits for it.
    if (tellSha1 || host.servesStockClients()) boundary.run(() => this.#makeSha1(tellSha1))
  }

  /**
   * Hashes the whole of a blob that was accepted on confirmed hashes, once: a reader that requests it again may have
   * found it wrong.
   * @throws BlobDistrustedError when it does not match its digest, and the copy is dropped; BlobUnavailableError
   */
  recheck(): Promise<void> {
    const { stored } = this.#parts
    if (!stored.isComplete || stored.isHashed) return Promise.resolve()
    this.#rechecking ??= this.#hashStored().finally(() => {
      this.#rechecking = undefined
    })
    return this.#rechecking
  }

  async #hashStored(): Promise<void> {
    const { stored, digestCheck, host, boundary } = this.#parts
    const isMatching = await digestCheck.isStoredMatching().catch((cause) => {
      throw new BlobUnavailableError('the blob could not be read again', { cause })
    })
    if (isMatching) {
      stored.isHashed = true
      stored.markDirty()
      void stored.save()
      return
    }
    const reason = new BlobDistrustedError('a blob that two nodes vouched for does not match its digest')
    stored.isMatched = false
    // After a risen epoch no hash is left to dispute.
    if (stored.hashes.isComplete) boundary.run(() => this.#reportWrongPiece())
    host.fail(reason)
    throw reason
  }

  /**
   * Without a hash of every piece (the tracker was down and signed none) there is nothing to confirm.
   * @returns what reports the SHA-1 hashes, if the tracker wants them
   */
  async #report(matched: 'whole' | 'pieces'): Promise<TellSha1 | undefined> {
    const { stored, pieces, tracker, host, log } = this.#parts
    if (!stored.hashes.isComplete) return undefined
    const disputed = pieces.disputed().slice(0, MISMATCH_PIECES_MAX)
    try {
      if (disputed.length > 0) {
        await this.#reportMismatch(disputed)
        return undefined
      }
      // Of the epoch whose hashes were compared, also when it rises before the SHA-1 hashes are here.
      const { epoch } = stored.hashes
      const complete = (piecesSha1: string | null) =>
        tracker.complete(stored.swarm, { epoch, matched, piecesSha1 })
      const answer = await complete(null)
      host.learnBatches(answer.batches)
      void stored.save()
      return answer.wantsSha1 ? (hashes) => complete(hashes.toString('base64url')) : undefined
    } catch (error) {
      log.debug({ err: error }, 'the completion could not be reported')
      return undefined
    }
  }

  async #makeSha1(tell: TellSha1 | undefined): Promise<void> {
    try {
      const hashes = await this.piecesSha1()
      await tell?.(hashes)
    } catch (error) {
      this.#parts.log.debug({ err: error }, 'stock clients do not get the blob from here')
    }
  }

  /** Somebody published a wrong hash: finds its piece with the registry's help, and tells the tracker. */
  async #reportWrongPiece(): Promise<void> {
    const { stored, access, log } = this.#parts
    const { layout, hashes } = stored
    const { epoch } = hashes
    const stream = access.stream(0, layout.pieceCount, AbortSignal.timeout(FIND_WRONG_PIECE_MS_MAX))
    try {
      const wrong = await findWrongPiece(stream, layout, hashes)
      if (!wrong) return
      await this.reportWrong(wrong, epoch)
    } catch (error) {
      log.warn({ err: error }, 'the wrong piece could not be found')
    }
  }

  /** A piece from the registry does not match its published hash. */
  async reportWrong({ piece, hash }: WrongPiece, epoch = this.#parts.stored.hashes.epoch): Promise<void> {
    const { stored, tracker, log } = this.#parts
    log.warn({ piece }, "a published hash differs from the registry's")
    try {
      await tracker.mismatch(stored.swarm, { epoch, pieces: [{ piece, hash: hash.toString('base64url') }] })
    } catch (error) {
      log.warn({ err: error }, 'a wrong hash could not be reported')
    }
  }

  /**
   * SHA-1 of every piece, for stock clients: one pass over the whole blob, once, off the event loop, when no pull needs the
   * processor.
   */
  piecesSha1(): Promise<Buffer> {
    const { stored, verifier } = this.#parts
    if (stored.piecesSha1) return Promise.resolve(stored.piecesSha1)
    return verifier.whenQuiet(() => this.#hashSha1())
  }

  async #hashSha1(): Promise<Buffer> {
    const { stored, verifier } = this.#parts
    if (stored.piecesSha1) return stored.piecesSha1
    const hashes = await stored.withFile((file) => verifier.sha1OfPieces(file, stored.layout))
    stored.piecesSha1 = hashes
    stored.markDirty()
    void stored.save()
    return hashes
  }

  /**
   * The whole blob is right, and these pieces are the registry's: the nodes that published other hashes were wrong.
   */
  async #reportMismatch(disputed: ReturnType<AnnounceablePieces['disputed']>): Promise<void> {
    const { stored, tracker, host } = this.#parts
    const pieces = disputed.map(({ piece, hash }) => ({ piece, hash: hash.toString('base64url') }))
    const { epoch } = await tracker.mismatch(stored.swarm, { epoch: stored.hashes.epoch, pieces })
    host.raiseEpoch(epoch)
  }
}
