import type { BlobProgress, BytesMoved, HeldStatus } from '../client.ts'
import type { StoredBlob } from '../store/blob-store.ts'

/** What the store tells of blobs that no swarm runs for; and sums. For display only. */

const NOTHING_MOVED: BytesMoved = {
  bytesFromRegistry: 0,
  bytesFromPeers: 0,
  bytesFromNear: 0,
  bytesFromFar: 0,
  bytesFromCache: 0,
  bytesToPeers: 0,
}

/** A blob that was neither read nor served since the start. */
export function heldProgress(stored: StoredBlob): BlobProgress {
  return {
    ...stored.key,
    repository: stored.repository,
    bytes: stored.layout.blobBytes,
    ...NOTHING_MOVED,
    state: stored.isComplete ? 'complete' : 'partial',
    peers: 0,
  }
}

export function heldStatus(blobs: StoredBlob[]): Pick<HeldStatus, 'blobs' | 'bytes'> {
  const holding = blobs.filter(isHolding)
  return { blobs: holding.length, bytes: holding.reduce((sum, blob) => sum + verifiedBytes(blob), 0) }
}

/** Something of it is here. */
export function isHolding({ have }: StoredBlob): boolean {
  return have.count > 0
}

export function verifiedBytes({ have, layout }: StoredBlob): number {
  return Math.min(have.count * layout.pieceBytes, layout.blobBytes)
}

export function sumOf(all: Iterable<BytesMoved>): BytesMoved {
  const sum = { ...NOTHING_MOVED }
  for (const moved of all) {
    sum.bytesFromRegistry += moved.bytesFromRegistry
    sum.bytesFromPeers += moved.bytesFromPeers
    sum.bytesFromNear += moved.bytesFromNear
    sum.bytesFromFar += moved.bytesFromFar
    sum.bytesFromCache += moved.bytesFromCache
    sum.bytesToPeers += moved.bytesToPeers
  }
  return sum
}
