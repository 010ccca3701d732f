import { type Cipheriv, createCipheriv, createDecipheriv, type Decipheriv, hkdfSync } from 'node:crypto'
import type { SwarmId } from '../../core/metainfo.ts'
import { BLOCK_BYTES_MAX } from '../wire/messages.ts'

/**
 * Encrypts stored blobs with AES-256-XTS (IEEE 1619), the mode for disks: any unit can be read alone and written
 * again. A stream mode would not do: pieces of a lying publisher are overwritten, and two contents under one key
 * stream reveal each other. XTS reveals only that a unit was written twice with the same content. Nothing is
 * authenticated: peers verify the bytes that they receive, and local reads were verified when they were written.
 */

/**
 * One data unit: the largest block that peers request, so that most reads are one unit. Creating a cipher costs about
 * 10 µs: a GiB took 0.3 s of CPU in units of 128 KiB, 0.4 s in units of 64 KiB, 1 s in units of 16 KiB.
 */
export const UNIT_BYTES = BLOCK_BYTES_MAX
/** XTS has no shorter unit; the last one of a blob is padded with zeros. */
const UNIT_BYTES_MIN = 16
const CIPHER = 'aes-256-xts'
/** Two keys of 256 bits: data and tweak. */
const KEY_BYTES = 64
/** Identifies the key of a blob, and reveals nothing about it. */
const KEY_ID_BYTES = 16

/** The node's cache key, from which each blob's key is derived (HKDF, RFC 5869). */
export class CacheKey {
  /** Hex; stored in the state of every blob under this key. */
  readonly id: string
  readonly #secret: Uint8Array

  /** @param secret 32 bytes */
  constructor(secret: Uint8Array) {
    this.#secret = secret
    this.id = derived(secret, 'shoal cache key id v1', KEY_ID_BYTES).toString('hex')
  }

  keyFor(swarm: SwarmId): Uint8Array {
    return derived(this.#secret, `shoal cache blob v1 ${swarm}`, KEY_BYTES)
  }
}

function derived(secret: Uint8Array, info: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', info, bytes))
}

/** Bytes of unit `index` in the file of a blob; all but the last are UNIT_BYTES. */
export function unitBytesAt(index: number, blobBytes: number): number {
  return Math.max(UNIT_BYTES_MIN, Math.min(UNIT_BYTES, blobBytes - index * UNIT_BYTES))
}

/** A unit of a blob, and the key of the blob. */
export interface Unit {
  key: Uint8Array
  index: number
  bytes: Uint8Array
}

/** @param use gets the cipher text, which is cleared when it returns */
export function encryptUnit({ key, index, bytes }: Unit, use: (sealed: Uint8Array) => void): void {
  const plain = bytes.length < UNIT_BYTES_MIN ? Buffer.concat([bytes], UNIT_BYTES_MIN) : bytes
  resultOf(createCipheriv(CIPHER, key, tweakOf(index)), plain, use)
}

/** @param use gets the plain text, which is cleared when it returns */
export function decryptUnit({ key, index, bytes }: Unit, use: (plain: Uint8Array) => void): void {
  resultOf(createDecipheriv(CIPHER, key, tweakOf(index)), bytes, use)
}

/**
 * Node puts every result into new memory. It is released at once: otherwise the kernel must find and clear new pages
 * until the collector runs, which costs up to ten times as much as the cipher.
 */
function resultOf(cipher: Cipheriv | Decipheriv, bytes: Uint8Array, use: (result: Uint8Array) => void): void {
  const result = cipher.update(bytes)
  use(result)
  result.buffer.transfer(0)
}

/** The unit's number, little-endian (IEEE 1619 §5.1). */
function tweakOf(index: number): Buffer {
  const tweak = Buffer.alloc(16)
  tweak.writeUInt32LE(index)
  return tweak
}
