import { digestHex } from '../../core/digest.ts'
import type { StoredBlob } from '../store/blob-store.ts'
import type { Verifier } from '../store/verifier.ts'

/** How far the hash is taken on in one job, so that pieces waiting to be verified get their turn. */
const STEP_BYTES = 16 * 1024 * 1024

/**
 * Confirmed hashes rest on the word of two nodes, and a member of the cluster can be two nodes. So one in so many blobs is
 * hashed as a whole all the same: a lie that two vouched for is found out by one of the first that believe it.
 */
export const AUDITED_SHARE = 1 / 8

/**
 * SHA-256 over the whole blob while its piece hashes are claims. It follows the pieces that are there in order; a
 * piece that arrives in order is hashed from memory, the others are read back. Once the hashes are confirmed there is
 * nothing to do, but for an audit: the pieces alone are enough, in one pass.
 */
export class DigestCheck {
  readonly #verifier: Verifier
  readonly #stored: StoredBlob
  readonly #isAudit: boolean
  #begun: number | undefined
  #advancedBytes = 0

  constructor(verifier: Verifier, stored: StoredBlob, { isAudit }: { isAudit: boolean }) {
    this.#verifier = verifier
    this.#stored = stored
    this.#isAudit = isAudit
  }

  /** The whole has to be hashed before it counts as matched. */
  get isNeeded(): boolean {
    return !this.#stored.isMatched && (this.#isAudit || !this.#stored.hashes.isConfirmed)
  }

  /** Passed along with every piece that is verified; undefined when no whole hash is needed (any more). */
  get handle(): number | undefined {
    if (!this.isNeeded) return undefined
    this.#begun ??= this.#verifier.beginWhole()
    return this.#begun
  }

  /** A piece was stored: go on with what is there in order. */
  advance(): void {
    const { handle } = this
    if (handle === undefined) return
    const { pieceBytes, blobBytes } = this.#stored.layout
    const contiguous = Math.min(this.#stored.have.firstMissing() * pieceBytes, blobBytes)
    while (this.#advancedBytes < contiguous) {
      this.#advancedBytes = Math.min(contiguous, this.#advancedBytes + STEP_BYTES)
      // A failure to read shows again at the end, where someone waits for it.
      this.#advanceTo(handle, this.#advancedBytes).catch(() => undefined)
    }
  }

  /** With every piece there: whether the whole is what the digest says, or confirmed hashes say so already. */
  async isMatched(): Promise<boolean> {
    const { handle } = this
    if (handle === undefined) return true
    this.advance()
    await this.#advanceTo(handle, this.#stored.layout.blobBytes)
    this.#begun = undefined
    return (await this.#verifier.endWhole(handle)) === digestHex(this.#stored.key.digest)
  }

  /** Hashes a blob that is whole from its file. @throws what reading throws */
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

  /** Pieces were dropped, or the blob is done with: what was hashed so far counts for nothing. */
  abandon(): void {
    // The verifier may be closed by now; then there is nothing to forget.
    if (this.#begun !== undefined) this.#verifier.endWhole(this.#begun).catch(() => undefined)
    this.#begun = undefined
    this.#advancedBytes = 0
  }

  #advanceTo(handle: number, bytes: number): Promise<string> {
    return this.#stored.withFile((file) => this.#verifier.advanceWhole(handle, file, bytes))
  }
}
