import { digestHex } from '../../core/digest.ts'
import { allPieces, type PieceIndex, pieceBytesAt } from '../../core/metainfo.ts'
import { StoreWriteError } from '../errors.ts'
import type { StoredBlob } from './stored-blob.ts'
import type { Verifier } from './verifier.ts'

/** Finds and drops pieces whose bytes on the disk are no longer those that were verified. */

/** Bytes hashed in one job, so that pieces waiting for verification get their turn. */
const STEP_BYTES = 16 * 1024 * 1024

export type Hashing = Pick<Verifier, 'range' | 'beginWhole' | 'advanceWhole' | 'endWhole'>

/** Called before this many bytes are hashed. */
export type HashPace = (bytes: number) => Promise<void>

const AT_ONCE: HashPace = async () => undefined

/**
 * The stored pieces whose bytes are wrong or cannot be read.
 * @throws what hashing throws when the node ends: then nothing is known
 */
export async function wrongPieces(
  blob: StoredBlob,
  verifier: Hashing,
  pace = AT_ONCE,
): Promise<PieceIndex[]> {
  const { layout, have, hashes } = blob
  const held = [...allPieces(layout)].filter((piece) => have.has(piece))
  // Its digest is all that it rests on: the tracker signed no hashes, or dropped them.
  if (blob.isMatched && !hashes.isComplete) return (await isWholeRight(blob, verifier, pace)) ? [] : held
  const wrong: PieceIndex[] = []
  for (const piece of held) {
    await pace(pieceBytesAt(layout, piece))
    if (have.has(piece) && !(await isPieceRight(blob, piece, verifier))) wrong.push(piece)
  }
  // A published hash may be the wrong one, and the blob be right.
  return wrong.length > 0 && blob.isMatched && (await isWholeRight(blob, verifier, pace)) ? [] : wrong
}

/** @param expected default: its signed hash. Without a hash it is not right. @throws as `wrongPieces` */
export async function isPieceRight(
  blob: StoredBlob,
  piece: PieceIndex,
  verifier: Hashing,
  expected = blob.hashes.get(piece),
): Promise<boolean> {
  const { layout } = blob
  const range = { position: piece * layout.pieceBytes, length: pieceBytesAt(layout, piece) }
  const hash = await blob.withFile((file) => verifier.range(file, range)).catch(undefinedIfUnreadable)
  return hash !== undefined && hash === expected?.toString('hex')
}

/** Whether the whole file matches the digest. @throws as `wrongPieces` */
export async function isWholeRight(blob: StoredBlob, verifier: Hashing, pace = AT_ONCE): Promise<boolean> {
  const { layout, key } = blob
  const whole = verifier.beginWhole()
  let isRead = true
  for (let bytes = 0; bytes < layout.blobBytes && isRead; ) {
    const to = Math.min(layout.blobBytes, bytes + STEP_BYTES)
    await pace(to - bytes)
    bytes = to
    const advanced = blob.withFile((file) => verifier.advanceWhole(whole, file, to))
    isRead = (await advanced.catch(undefinedIfUnreadable)) !== undefined
  }
  const hash = await verifier.endWhole(whole)
  return isRead && hash === digestHex(key.digest)
}

/** The blob is no longer whole: the pieces are fetched again before anybody gets them. */
export function dropPieces(blob: StoredBlob, pieces: readonly PieceIndex[]): void {
  for (const piece of pieces) blob.have.delete(piece)
  blob.isMatched = false
  blob.isHashed = false
  blob.piecesSha1 = undefined
  blob.markDirty()
}

/** The disk's fault, or the file's. */
function undefinedIfUnreadable(error: unknown): undefined {
  if (!(error instanceof StoreWriteError)) throw error
}
