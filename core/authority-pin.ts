import { createHash, type X509Certificate } from 'node:crypto'
import { certificatesOf } from './trusted-authorities.ts'

/** SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469 §2.4), 32 bytes. */
export function pinOf({ publicKey }: Pick<X509Certificate, 'publicKey'>): Buffer {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
}

/**
 * The authority that a server shows with its certificate: the last one of its file, if it is an authority or signed itself.
 * @param chainPem the server's certificate, and what follows it
 */
export function shownAuthority(chainPem: string): X509Certificate | undefined {
  const last = certificatesOf(chainPem).at(-1)
  return last !== undefined && (last.ca || last.checkIssued(last)) ? last : undefined
}
