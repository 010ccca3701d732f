import { digestHex } from '../../core/digest.ts'
import { allPieces, type PieceIndex, pieceBytesAt, type SwarmId } from '../../core/metainfo.ts'
import type { StoredBlob } from './stored-blob.ts'
import type { Verifier } from './verifier.ts'

/** Bytes hashed in one job, so that pieces waiting for verification get their turn. */
const STEP_BYTES = 16 * 1024 * 1024

type Hashing = Pick<Verifier, 'range' | 'beginWhole' | 'advanceWhole' | 'endWhole'>

/**
 * Blobs that were written to before the node ended uncleanly. The page cache survives a killed process but not a machine
 * that fails: the state file may name pieces whose bytes never reached the disk. So every piece is hashed before anybody
 * gets it, and wrong ones are fetched again.
 */
export class UncleanBlobs {
  readonly #blobs = new Map<SwarmId, StoredBlob>()
  readonly #checking = new Map<SwarmId, Promise<void>>()
  readonly #onChecked: (blob: StoredBlob) => void

  constructor(onChecked: (blob: StoredBlob) => void) {
    this.#onChecked = onChecked
  }

  add(blob: StoredBlob): void {
    this.#blobs.set(blob.swarm, blob)
  }

  all(): StoredBlob[] {
    return [...this.#blobs.values()]
  }

  /** Checks the blob, once, and hands it over. Resolves at once when there is nothing to check. */
  checked(swarm: SwarmId, verifier: Hashing): Promise<void> {
    const running = this.#checking.get(swarm)
    const blob = this.#blobs.get(swarm)
    if (running || !blob) return running ?? Promise.resolve()
    const checking = this.#check(blob, verifier).finally(() => this.#checking.delete(swarm))
    this.#checking.set(swarm, checking)
    return checking
  }

  async #check(blob: StoredBlob, verifier: Hashing): Promise<void> {
    const isRight = await blob.withFile(() => dropWrongPieces(blob, verifier)).catch(() => undefined)
    // The node has ended meanwhile: the blob stays as it is.
    if (isRight === undefined || !this.#blobs.delete(blob.swarm)) return
    if (!isRight) {
      blob.isMatched = false
      blob.isHashed = false
      blob.piecesSha1 = undefined
    }
    blob.markDirty()
    this.#onChecked(blob)
  }

  /** Their states on disk stay: they are checked after the next start. */
  async close(): Promise<void> {
    const blobs = this.all()
    this.#blobs.clear()
    await Promise.all(blobs.map((blob) => blob.leave()))
  }
}

/** @returns false when pieces were wrong, and are gone from `have` */
async function dropWrongPieces(blob: StoredBlob, verifier: Hashing): Promise<boolean> {
  const { layout, have, hashes, file } = blob
  // Its digest was all that it rested on: the tracker signed no hashes, or dropped them.
  if (blob.isMatched && !hashes.isComplete) {
    const isWhole = await isMatching(blob, verifier)
    if (!isWhole) for (const piece of allPieces(layout)) have.delete(piece)
    return isWhole
  }
  const wrong: PieceIndex[] = []
  for (const piece of allPieces(layout)) {
    if (!have.has(piece)) continue
    const range = { position: piece * layout.pieceBytes, length: pieceBytesAt(layout, piece) }
    const hash = await verifier.range(file, range).catch(() => undefined)
    if (hash === undefined || hash !== hashes.get(piece)?.toString('hex')) wrong.push(piece)
  }
  // A published hash may be the wrong one, and the blob be right.
  if (wrong.length === 0 || (blob.isMatched && (await isMatching(blob, verifier)))) return true
  for (const piece of wrong) have.delete(piece)
  return false
}

async function isMatching({ layout, file, key }: StoredBlob, verifier: Hashing): Promise<boolean> {
  const whole = verifier.beginWhole()
  let isRead = true
  for (let bytes = 0; bytes < layout.blobBytes && isRead; ) {
    bytes = Math.min(layout.blobBytes, bytes + STEP_BYTES)
    isRead = await verifier.advanceWhole(whole, file, bytes).then(
      () => true,
      () => false,
    )
  }
  const hash = await verifier.endWhole(whole)
  return isRead && hash === digestHex(key.digest)
}
