import { createHash } from 'node:crypto'
import { allPieces, type PieceIndex, type PieceLayout, pieceBytesAt } from '../../core/metainfo.ts'
import type { RegistryStream } from '../origin/registry-stream.ts'
import type { PieceHashes } from '../store/piece-hashes.ts'

/** A piece whose published hash differs from that of the registry's bytes, with the latter (32 bytes). */
export interface WrongPiece {
  piece: PieceIndex
  hash: Buffer
}

/**
 * The first piece of a blob where the registry's bytes differ from the swarm's hash. One is enough to settle who
 * lied, so the rest is not fetched.
 * @param stream the whole blob from the registry; it ends when this is done
 */
export async function findWrongPiece(
  stream: RegistryStream,
  layout: PieceLayout,
  hashes: PieceHashes,
): Promise<WrongPiece | undefined> {
  const buffer = Buffer.allocUnsafe(layout.pieceBytes)
  try {
    for (const piece of allPieces(layout)) {
      const length = pieceBytesAt(layout, piece)
      await stream.readPiece(buffer, length)
      const hash = createHash('sha256').update(buffer.subarray(0, length)).digest()
      const claimed = hashes.get(piece)
      if (claimed !== undefined && !claimed.equals(hash)) return { piece, hash }
    }
    return undefined
  } finally {
    await stream.end()
  }
}
