import { digestHex } from '../core/digest.ts'
import type { StoredBlob } from './store/blob-store.ts'
import type { Verifier } from './store/verifier.ts'

/** How far the hash is taken on in one job, so that pieces waiting to be verified get their turn. */
const STEP_BYTES = 16 * 1024 * 1024

/**
 * SHA-256 over the whole blob while its piece hashes are claims. It follows the pieces that are there in order; a
 * piece that arrives in order is hashed from memory, the others are read back.
 */
export class WholeCheck {
  /** Passed along with every piece that is verified; undefined when no whole hash is needed. */
  handle: number | undefined
  private readonly verifier: Verifier
  private readonly stored: StoredBlob
  private advancedBytes = 0

  constructor(verifier: Verifier, stored: StoredBlob) {
    this.verifier = verifier
    this.stored = stored
    if (!stored.isMatched) this.handle = verifier.beginWhole()
  }

  /** A piece was stored: go on with what is there in order. */
  advance(): void {
    if (this.handle === undefined || this.stored.hashes.isConfirmed) return
    const { pieceBytes, blobBytes } = this.stored.layout
    const contiguous = Math.min(this.stored.have.firstMissing() * pieceBytes, blobBytes)
    while (this.advancedBytes < contiguous) {
      this.advancedBytes = Math.min(contiguous, this.advancedBytes + STEP_BYTES)
      // A failure to read shows again at the end, where someone waits for it.
      this.advanceTo(this.handle, this.advancedBytes).catch(() => undefined)
    }
  }

  /** With every piece there: whether the whole is what the digest says. */
  async isMatched(): Promise<boolean> {
    if (this.handle === undefined) return true
    this.advance()
    const { handle } = this
    await this.advanceTo(handle, this.stored.layout.blobBytes)
    this.handle = undefined
    return (await this.verifier.endWhole(handle)) === digestHex(this.stored.key.digest)
  }

  /** Pieces were dropped: begin again. */
  restart(): void {
    if (this.handle !== undefined) void this.verifier.endWhole(this.handle).catch(() => undefined)
    this.handle = this.verifier.beginWhole()
    this.advancedBytes = 0
  }

  private advanceTo(handle: number, bytes: number): Promise<string> {
    return this.stored.withFile((fd) => this.verifier.advanceWhole(handle, fd, bytes))
  }
}
