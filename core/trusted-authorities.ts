import { X509Certificate } from 'node:crypto'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { ShoalError } from './errors.ts'

/** A bundle of authorities holds something else than PEM certificates: stop the program. */
export class AuthorityBundleError extends ShoalError {
  readonly code = 'AUTHORITY_BUNDLE'
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/**
 * The certificates of a PEM bundle, each checked to be one.
 * @param source where the bundle is from, for messages
 * @throws AuthorityBundleError when there is none, or one is malformed
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
 * Whom to trust for ordinary HTTPS: the system's store, what NODE_EXTRA_CA_CERTS names, and the configured bundle.
 * Node's own list stands in where the system has no store (a bare container image).
 * @returns PEM certificates, each once
 */
export function trustedAuthorities(bundlePem?: string, source?: string): string[] {
  const system = getCACertificates('system')
  const base = system.length > 0 ? [...system, ...getCACertificates('extra')] : getCACertificates('default')
  const bundle =
    bundlePem === undefined
      ? []
      : certificatesOf(bundlePem, source).map((certificate) => certificate.toString())
  // The system's store is read once per file and once per hash link: without this it is parsed several times over.
  return [...new Set([...base, ...bundle].map((pem) => pem.trim()))]
}

/** A context for many connections: parsing the store takes some 20 ms, so it must not happen per connection. */
export function trustingContext(bundlePem?: string, source?: string): SecureContext {
  return createSecureContext({ ca: trustedAuthorities(bundlePem, source), minVersion: 'TLSv1.2' })
}

/**
 * Why a connection failed, in words. Node's own advice for a certificate that does not verify is a flag of Node, and of
 * no use: the system's store is trusted already.
 * @param setting which names authorities besides the system's
 */
export function failureText({ message }: Error, setting: string): string {
  const [why, advice] = message.split('; if the root CA is installed locally')
  return advice === undefined ? message : `${why}; if its authority is your own, ${setting} must name it`
}
