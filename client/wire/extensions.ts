import { type Bencoded, type BencodedDictionary, decodeBencode, encodeBencode } from '../../core/bencode.ts'
import { InvalidInputError } from '../../core/errors.ts'
import { BATCH_PIECES_MAX, type HashBatch } from '../../core/hash-batch.ts'
import { PIECE_HASH_BYTES, type SwarmId } from '../../core/metainfo.ts'
import { PeerProtocolError } from '../errors.ts'
import { BLOCK_BYTES_FOREIGN, BLOCK_BYTES_MAX } from './messages.ts'

/** Ids that this side uses for extension messages (BEP 10: the receiver chooses). 0 is the handshake. */
export const EXTENSION_IDS = { shoal_proof: 1, shoal_hashes: 2, shoal_certificate: 3 } as const
export type ExtensionName = keyof typeof EXTENSION_IDS

/** The extension handshake (BEP 10), with Shoal's keys. */
export interface ExtensionHandshake {
  /** The other side's ids; absent: it does not support that extension. */
  ids: Partial<Record<ExtensionName, number>>
  /** Requests that the sender queues (`reqq`). */
  requestsQueuedMax: number
  /** Largest block that the sender serves and accepts (`shoal_block`), in bytes; 16 KiB for foreign peers. */
  blockBytesMax: number
  /** The sender will request nothing (BEP 21). */
  isUploadOnly: boolean
}

/** Assumed queue of a peer that does not announce one. */
export const REQUESTS_QUEUED_FOREIGN = 250
export const REQUESTS_QUEUED_BOUND = 2000

export function encodeExtensionHandshake(
  handshake: Omit<ExtensionHandshake, 'ids'> & { version: string },
): Buffer {
  return encodeBencode({
    m: EXTENSION_IDS,
    reqq: handshake.requestsQueuedMax,
    shoal_block: handshake.blockBytesMax,
    upload_only: handshake.isUploadOnly ? 1 : 0,
    v: handshake.version,
  })
}

/** @throws PeerProtocolError */
export function decodeExtensionHandshake(payload: Buffer): ExtensionHandshake {
  const dictionary = decodeDictionary(payload)
  const m = dictionary.get('m')
  const ids: ExtensionHandshake['ids'] = {}
  for (const name of Object.keys(EXTENSION_IDS) as ExtensionName[]) {
    const id = m instanceof Map ? m.get(name) : undefined
    if (typeof id === 'number' && id > 0 && id < 256) ids[name] = id
  }
  return {
    ids,
    requestsQueuedMax: clamped(dictionary.get('reqq'), REQUESTS_QUEUED_FOREIGN, 1, REQUESTS_QUEUED_BOUND),
    // Blocks below the common size are refused: a piece of 4 MiB would cost as many requests as it has bytes.
    blockBytesMax: clamped(
      dictionary.get('shoal_block'),
      BLOCK_BYTES_FOREIGN,
      BLOCK_BYTES_FOREIGN,
      BLOCK_BYTES_MAX,
    ),
    isUploadOnly: dictionary.get('upload_only') === 1,
  }
}

export function clamped(value: Bencoded | undefined, fallback: number, min: number, max: number): number {
  return typeof value === 'number' && value > 0 ? Math.max(min, Math.min(value, max)) : fallback
}

/** A downloader's proof: the token's signing input, and the proof that it holds the signature over it. */
export interface ProofMessage {
  signingInput: string
  proof: Buffer
}

export function encodeProof(message: ProofMessage): Buffer {
  return encodeBencode({ proof: message.proof, signing_input: message.signingInput })
}

/** @throws PeerProtocolError */
export function decodeProof(payload: Buffer): ProofMessage {
  const dictionary = decodeDictionary(payload)
  return {
    signingInput: bytesOf(dictionary, 'signing_input').toString('latin1'),
    proof: Buffer.from(bytesOf(dictionary, 'proof')),
  }
}

/** An acceptor's pull certificate (DER), and its key's signature over the connection. */
export interface ShownCertificate {
  certificate: Buffer
  signature: Buffer
}

export function encodeShownCertificate(message: ShownCertificate): Buffer {
  return encodeBencode({ certificate: message.certificate, signature: message.signature })
}

/** Checks the shape only. @throws PeerProtocolError */
export function decodeShownCertificate(payload: Buffer): ShownCertificate {
  const dictionary = decodeDictionary(payload)
  return {
    certificate: Buffer.from(bytesOf(dictionary, 'certificate')),
    signature: Buffer.from(bytesOf(dictionary, 'signature')),
  }
}

/** One signed batch; its swarm is the connection's. */
export function encodeHashBatch(batch: HashBatch): Buffer {
  return encodeBencode({
    confirmed: batch.status === 'confirmed' ? 1 : 0,
    epoch: batch.epoch,
    first: batch.firstPiece,
    hashes: batch.hashes,
    signature: batch.signature,
  })
}

/** Checks the shape only: the caller checks the signature. @throws PeerProtocolError */
export function decodeHashBatch(payload: Buffer, swarm: SwarmId): HashBatch {
  const dictionary = decodeDictionary(payload)
  const hashes = Buffer.from(bytesOf(dictionary, 'hashes'))
  const signature = Buffer.from(bytesOf(dictionary, 'signature'))
  const pieces = hashes.length / PIECE_HASH_BYTES
  if (!Number.isInteger(pieces) || pieces < 1 || pieces > BATCH_PIECES_MAX || signature.length !== 64) {
    throw new PeerProtocolError('malformed hash batch')
  }
  return {
    swarm,
    epoch: countOf(dictionary, 'epoch'),
    status: countOf(dictionary, 'confirmed') === 1 ? 'confirmed' : 'claimed',
    firstPiece: countOf(dictionary, 'first'),
    hashes,
    signature,
  }
}

/** @throws PeerProtocolError */
export function decodeDictionary(payload: Buffer): BencodedDictionary {
  try {
    const value = decodeBencode(payload)
    if (value instanceof Map) return value
  } catch (cause) {
    if (!(cause instanceof InvalidInputError)) throw cause
    throw new PeerProtocolError('malformed extension message', { cause })
  }
  throw new PeerProtocolError('an extension message that is not a dictionary')
}

/** @throws PeerProtocolError */
export function bytesOf(dictionary: BencodedDictionary, key: string): Buffer {
  const value = dictionary.get(key)
  if (!Buffer.isBuffer(value)) throw new PeerProtocolError(`extension message without ${key}`)
  return value
}

/** @throws PeerProtocolError */
export function countOf(dictionary: BencodedDictionary, key: string): number {
  const value = dictionary.get(key)
  if (typeof value !== 'number' || value < 0) throw new PeerProtocolError(`extension message without ${key}`)
  return value
}
