import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { InvalidInputError } from './errors.ts'
import { type ClusterId, PIECE_HASH_BYTES, type SwarmId } from './metainfo.ts'

/**
 * Piece hashes of a run of pieces, signed by the tracker (Ed25519). `claimed`: one publisher gave them, and the whole blob
 * has not been matched against its digest yet. `confirmed`: two nodes have matched the whole blob under these hashes.
 * `hashes` has 32 bytes (SHA-256) per piece from `firstPiece` on; `signature` has 64 bytes.
 */
export interface HashBatch {
  swarm: SwarmId
  /** Every mismatch raises it; batches of an older epoch are refused. */
  epoch: number
  status: 'claimed' | 'confirmed'
  firstPiece: number
  hashes: Buffer
  signature: Buffer
}

export type UnsignedHashBatch = Omit<HashBatch, 'signature'>

/** Bound of one batch: 4,096 hashes are 128 KiB, half of the frame bound. */
export const BATCH_PIECES_MAX = 4096

/** The signed bytes. They include the cluster, so that a batch is not valid in another cluster. */
function signedBytes(cluster: ClusterId, batch: UnsignedHashBatch): Buffer {
  const head = `shoal-hash-batch-v1\n${cluster}\n${batch.swarm}\n${batch.epoch}\n${batch.status}\n${batch.firstPiece}\n`
  return Buffer.concat([Buffer.from(head), batch.hashes])
}

export function batchPieceCount(batch: Pick<HashBatch, 'hashes'>): number {
  return batch.hashes.length / PIECE_HASH_BYTES
}

export function signHashBatch(key: KeyObject, cluster: ClusterId, batch: UnsignedHashBatch): HashBatch {
  return { ...batch, signature: sign(null, signedBytes(cluster, batch), key) }
}

/** Whether one of `keys` (a cluster may be changing its key) signed the batch for this cluster. */
export function isHashBatchSigned(keys: readonly KeyObject[], cluster: ClusterId, batch: HashBatch): boolean {
  const bytes = signedBytes(cluster, batch)
  return keys.some((key) => verify(null, bytes, key, batch.signature))
}

/** @param rawBase64url the 32 bytes of an Ed25519 public key (RFC 8037 `x`) */
export function batchKeyFromRaw(rawBase64url: string): KeyObject {
  if (Buffer.from(rawBase64url, 'base64url').length !== 32)
    throw new InvalidInputError('not an Ed25519 public key')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: rawBase64url }, format: 'jwk' })
}

/** @returns the 32 bytes of the Ed25519 public key that belongs to `key`, as base64url */
export function batchKeyToRaw(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ format: 'jwk' }).x as string
}
