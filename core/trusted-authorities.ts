import { X509Certificate } from 'node:crypto'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { reasonOf, ShoalError } from './errors.ts'
import { isAboutTime, isOfUnknownAuthority, registryFailure } from './registry-failure.ts'
import { PEM_CERTIFICATE, systemAuthorities } from './system-authorities.ts'

/** A bundle of authorities does not contain PEM certificates: stop the program. */
export class AuthorityBundleError extends ShoalError {
  readonly code = 'AUTHORITY_BUNDLE'
}

/**
 * The certificates of a PEM bundle, each checked.
 * @param source the bundle's origin, for messages
 * @throws AuthorityBundleError if there is no certificate, or one is malformed
 */
export function certificatesOf(bundlePem: string, source = 'the bundle'): X509Certificate[] {
  const certificates = bundlePem.match(PEM_CERTIFICATE) ?? []
  if (certificates.length === 0) {
    throw new AuthorityBundleError(`no PEM certificate in ${source}`, {
      hint: 'Expected one or more blocks of -----BEGIN CERTIFICATE-----.',
    })
  }
  return certificates.map((pem, index) => {
    try {
      return new X509Certificate(pem)
    } catch (cause) {
      throw new AuthorityBundleError(`certificate ${index + 1} of ${source} is malformed`, { cause })
    }
  })
}

/**
 * The authorities to trust for ordinary HTTPS: the system's store, NODE_EXTRA_CA_CERTS, and the configured bundle. If the
 * system has no store (a bare container image), Node's own list replaces it.
 * @returns PEM certificates, each once
 */
export function trustedAuthorities(bundlePem?: string, source?: string): string[] {
  const system = systemAuthorities()
  const base = system.length > 0 ? [...system, ...getCACertificates('extra')] : getCACertificates('default')
  const bundle =
    bundlePem === undefined
      ? []
      : certificatesOf(bundlePem, source).map((certificate) => certificate.toString())
  // Remove duplicates: the system's store is read by file and by hash link, and would be parsed several times.
  return [...new Set([...base, ...bundle].map((pem) => pem.trim()))]
}

/** A certificate and its key, with which this process shows who it is. */
export interface ClientIdentity {
  certificatePem: string
  privateKeyPem: string
}

/**
 * A context for many connections: parsing the store takes about 20 ms, so it must not happen per connection. Every trusted
 * certificate is an anchor, as in Go: a bundle may hold only the issuing authority, or the server's own certificate.
 */
export function contextTrusting(authorities: string[], identity?: ClientIdentity): SecureContext {
  return createSecureContext({
    ca: authorities,
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.2',
    ...(identity && { cert: identity.certificatePem, key: identity.privateKeyPem }),
  })
}

export function trustingContext(bundlePem?: string, source?: string): SecureContext {
  return contextTrusting(trustedAuthorities(bundlePem, source))
}

/**
 * Why a connection failed, in words. For a certificate that does not verify, Node recommends one of its own flags. That is
 * useless here, because the system's store is already trusted.
 * @param setting the setting that names additional authorities
 */
export function failureText(error: Error, setting: string): string {
  if (registryFailure(error) === 'plain') return 'it speaks plain HTTP on this port, not TLS'
  const { message } = rootOf(error)
  if (isAboutTime(error)) return `${message}; the clock of this machine says ${new Date().toISOString()}`
  const [why] = message.split('; if the root CA is installed locally')
  return isOfUnknownAuthority(error)
    ? `${why}; if its authority is your own, ${setting} must name it`
    : reasonOf(rootOf(error))
}

/** The error that others wrap: what the connection itself met. Of several addresses, the first. Ours have words already. */
function rootOf(error: Error): Error {
  if (error instanceof ShoalError) return error
  const inner = error.cause ?? (error as { errors?: unknown[] }).errors?.[0]
  return inner instanceof Error ? rootOf(inner) : error
}
