import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { batchKeyToRaw } from '../../core/hash-batch.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { peerTokenKey } from '../../core/peer-token.ts'
import type { BatchKeyRecord } from '../store/store.ts'
import { NODE_CERTIFICATE_SECONDS } from './cluster-authority.ts'
import { openBatchKey } from './sealed-keys.ts'
import { placeOf, type Sealer } from './sealer.ts'

/** Nodes renew a previous key's signatures within heartbeats; a node cut off for longer has no certificate. */
export const PREVIOUS_KEY_SECONDS = NODE_CERTIFICATE_SECONDS
/** Characters of a public key in the audit log: 64 bits tell keys apart. */
const PUBLIC_KEY_CHARS = 16

/** Signs hash batches. A key derived from it signs peer tokens (docs/decisions/0005-signing-keys.md). */
export interface SigningKey {
  batchKey: KeyObject
  /** The public half of `batchKey`, raw in base64url. */
  batchKeyPublic: string
  peerTokenKey: KeyObject
  createdAtMs: number
  /** From then on its signatures no longer count; null: no end until another key replaces it. */
  endsAtMs: number | null
}

/** A running change of a cluster's signing key. */
export interface KeyRotation {
  previous: SigningKey
  /** From then on the new key signs, and the previous one is only trusted. */
  signsAtMs: number
  /** By then each node with a heartbeat since `signsAtMs` has renewed the signatures of what it holds. */
  renewedAtMs: number
  previousEndsAtMs: number
}

/** Store the key in the same turn of the sealer in which it is made. */
export function makeSigningKey(sealer: Sealer, cluster: ClusterId, nowMs: number): BatchKeyRecord {
  const { privateKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  return {
    publicKey: batchKeyToRaw(privateKey),
    sealedKey: sealer.seal(placeOf('batchKey', cluster), Buffer.from(pem)),
    createdAtMs: nowMs,
    endsAtMs: null,
  }
}

/** @throws UnsealError if the store was altered */
export function openSigningKey(sealer: Sealer, cluster: ClusterId, record: BatchKeyRecord): SigningKey {
  const batchKey = openBatchKey(sealer, placeOf('batchKey', cluster), record)
  const { publicKey: batchKeyPublic, createdAtMs, endsAtMs } = record
  return { batchKey, batchKeyPublic, peerTokenKey: peerTokenKey(cluster, batchKey), createdAtMs, endsAtMs }
}

export function shortOfKey(publicKey: string): string {
  return Buffer.from(publicKey, 'base64url').toString('hex').slice(0, PUBLIC_KEY_CHARS)
}
