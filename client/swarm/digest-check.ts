import { digestHex } from '../../core/digest.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { Verifier } from '../store/verifier.ts'

/** Bytes hashed in one job, so that pieces waiting for verification get their turn. */
const STEP_BYTES = 16 * 1024 * 1024

/**
 * Confirmed hashes rest on the word of two nodes, and one member of the cluster can run two nodes. So one blob in
 * eight is still hashed as a whole: one of the first nodes that accept a lie finds it out.
 */
export const AUDITED_SHARE = 1 / 8

/**
 * SHA-256 over the whole blob while its piece hashes are claims. It follows the stored pieces in order: a piece that
 * arrives in order is hashed from memory, others are read back. Once the hashes are confirmed, verified pieces are
 * enough, in one pass; the whole is hashed only for an audit.
 */
export class DigestCheck {
  readonly #verifier: Verifier
  readonly #stored: StoredBlob
  readonly #isAudit: boolean
  readonly #onStep: () => void
  #begun: number | undefined
  #advancedBytes = 0

  /** @param onStep some bytes were hashed */
  constructor(
    verifier: Verifier,
    stored: StoredBlob,
    { isAudit, onStep = () => undefined }: { isAudit: boolean; onStep?: () => void },
  ) {
    this.#verifier = verifier
    this.#stored = stored
    this.#isAudit = isAudit
    this.#onStep = onStep
  }

  /** The whole blob must be hashed before it counts as matched. */
  get isNeeded(): boolean {
    return !this.#stored.isMatched && (this.#isAudit || !this.#stored.hashes.isConfirmed)
  }

  /** Passed along with every verified piece; undefined when no hash of the whole is needed. */
  get handle(): number | undefined {
    if (!this.isNeeded) return undefined
    this.#begun ??= this.#verifier.beginWhole()
    return this.#begun
  }

  /** A piece was stored: continues with the pieces that follow in order. */
  advance(): void {
    const { handle } = this
    if (handle === undefined) return
    const { pieceBytes, blobBytes } = this.#stored.layout
    const contiguous = Math.min(this.#stored.have.firstMissing() * pieceBytes, blobBytes)
    while (this.#advancedBytes < contiguous) {
      this.#advancedBytes = Math.min(contiguous, this.#advancedBytes + STEP_BYTES)
      // A failure to read appears again at the end, where it is awaited.
      this.#advanceTo(handle, this.#advancedBytes).catch(() => undefined)
    }
  }

  /**
   * Call with every piece stored. @returns whether the whole matches the digest, or confirmed hashes make that
   * certain
   */
  async isMatched(): Promise<boolean> {
    const { handle } = this
    if (handle === undefined) return true
    this.advance()
    await this.#advanceTo(handle, this.#stored.layout.blobBytes)
    this.#begun = undefined
    return (await this.#verifier.endWhole(handle)) === digestHex(this.#stored.key.digest)
  }

  /** Hashes a complete blob from its file. @throws what reading throws */
  async isStoredMatching(): Promise<boolean> {
    const { blobBytes } = this.#stored.layout
    const handle = this.#verifier.beginWhole()
    try {
      for (let bytes = 0; bytes < blobBytes; ) {
        bytes = Math.min(blobBytes, bytes + STEP_BYTES)
        await this.#advanceTo(handle, bytes)
      }
    } catch (error) {
      this.#verifier.endWhole(handle).catch(() => undefined)
      throw error
    }
    return (await this.#verifier.endWhole(handle)) === digestHex(this.#stored.key.digest)
  }

  /** Pieces were dropped, or the blob is finished: forgets the bytes hashed so far. */
  abandon(): void {
    // The verifier may be closed already; then there is nothing to forget.
    if (this.#begun !== undefined) this.#verifier.endWhole(this.#begun).catch(() => undefined)
    this.#begun = undefined
    this.#advancedBytes = 0
  }

  #advanceTo(handle: number, bytes: number): Promise<string> {
    const advanced = this.#stored.withFile((file) => this.#verifier.advanceWhole(handle, file, bytes))
    return advanced.finally(this.#onStep)
  }
}
