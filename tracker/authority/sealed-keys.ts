import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { batchKeyToRaw } from '../../core/hash-batch.ts'
import { UnsealError } from '../errors.ts'
import type { AuthorityRecord, BatchKeyRecord } from '../store/store.ts'
import type { Sealer } from './sealer.ts'

/**
 * Opens keys whose certificate or public half stands beside them unsealed. Whoever writes to the store could put his own
 * there, with a copy of a sealed key: then everybody would trust a key that this tracker does not have.
 */

export interface OpenedAuthority {
  certificate: X509Certificate
  privateKeyPem: string
}

/** @throws UnsealError if the key, or the certificate beside it, was altered */
export function openAuthorityKey(
  sealer: Sealer,
  place: string,
  { certificatePem, sealedKey }: AuthorityRecord,
): OpenedAuthority {
  const privateKeyPem = sealer.open(place, sealedKey).toString()
  const certificate = certificateOf(place, certificatePem)
  // TLS trusts every certificate of a text; this class reads the first one.
  const isOne = certificate.toString().trim() === certificatePem.trim()
  if (isOne && certificate.checkPrivateKey(createPrivateKey(privateKeyPem)))
    return { certificate, privateKeyPem }
  throw new UnsealError(`the certificate beside the sealed ${place} is not that key's`)
}

/** @throws UnsealError if the key, or the public key beside it, was altered */
export function openBatchKey(
  sealer: Sealer,
  place: string,
  { publicKey, sealedKey }: BatchKeyRecord,
): KeyObject {
  const key = createPrivateKey(sealer.open(place, sealedKey))
  if (batchKeyToRaw(key) === publicKey) return key
  throw new UnsealError(`the public key beside the sealed ${place} is not that key's`)
}

function certificateOf(place: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new UnsealError(`the certificate beside the sealed ${place} cannot be read`, { cause })
  }
}
