import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import type { SwarmId } from '../../core/metainfo.ts'

/**
 * Blobs at rest under AES-256-XTS (IEEE 1619), the mode for disks: any unit can be read alone and written again. A
 * stream mode would not do: pieces of a publisher who lied are written over, and two contents under one key stream give
 * each other away. XTS shows no more than that a unit was written twice with the same content. Nothing is authenticated:
 * what is read goes to peers who verify it, or was verified when it was written.
 */

/**
 * One data unit. Setting up a cipher costs some 10 µs, so units should be long; Node hands out new memory for every
 * result, and from 128 KiB on that is a mapping of its own, cleared by the kernel. A GiB took 0.5 s of CPU in units of 64 KiB,
 * 1.4 s in units of 16 KiB and 0.7 to 2.2 s in units of 128 KiB.
 */
export const UNIT_BYTES = 64 * 1024
/** XTS knows no shorter unit; the last one of a blob is filled up with zeros. */
const UNIT_BYTES_MIN = 16
const CIPHER = 'aes-256-xts'
/** Two keys of 256 bits: data and tweak. */
const KEY_BYTES = 64
/** So much tells which key a blob is under, and nothing about it. */
const KEY_ID_BYTES = 16

/** The node's cache key, from which every blob has a key of its own (HKDF, RFC 5869). */
export class CacheKey {
  /** Hex; stands in the state of every blob under this key. */
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

export function encryptUnit(key: Uint8Array, index: number, bytes: Uint8Array): Buffer {
  const plain = bytes.length < UNIT_BYTES_MIN ? Buffer.concat([bytes], UNIT_BYTES_MIN) : bytes
  return createCipheriv(CIPHER, key, tweakOf(index)).update(plain)
}

export function decryptUnit(key: Uint8Array, index: number, bytes: Uint8Array): Buffer {
  return createDecipheriv(CIPHER, key, tweakOf(index)).update(bytes)
}

/** The unit's number, little-endian (IEEE 1619 §5.1). */
function tweakOf(index: number): Buffer {
  const tweak = Buffer.alloc(16)
  tweak.writeUInt32LE(index)
  return tweak
}
