/**
 * Why a connection to a registry failed.
 * `certificate`: its certificate does not verify with what this process trusts.
 * `plain`: it speaks plain HTTP on this port.
 * `tls`: it answered, and TLS found no agreement; or it ended the connection, as a server in plain HTTP may.
 * `identity`: a client certificate is there for it, which this process cannot use.
 * `silent`: it did not answer, or something on the way did not.
 */
export type RegistryFailure = 'certificate' | 'plain' | 'tls' | 'identity' | 'silent'

/** Names of OpenSSL's verification errors (X509_V_ERR_…), as Node gives them. */
const CERTIFICATE =
  /^(?:CERT_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|ERROR_IN_CERT|HOSTNAME_MISMATCH|INVALID_(?:CA|PURPOSE)|PATH_LENGTH_EXCEEDED|CRL_|ERR_TLS_CERT_ALTNAME|UNSPECIFIED$)/
/** OpenSSL read the letters of an HTTP answer as the head of a TLS record. */
const PLAIN = /^ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST)$/
/** An error's causes, and the errors of several addresses, are looked at this deep. */
const CAUSES_DEPTH_MAX = 8

export function registryFailure(error: unknown): RegistryFailure {
  for (const code of codesOf(error)) {
    if (code === 'CLIENT_CERTIFICATE') return 'identity'
    if (PLAIN.test(code)) return 'plain'
    if (CERTIFICATE.test(code)) return 'certificate'
    if (code.startsWith('ERR_SSL_')) return 'tls'
    if (code === 'ECONNRESET') return 'tls'
  }
  return 'silent'
}

/** Whether a certificate did not verify because of a time: it, or this machine's clock, is wrong. */
export function isAboutTime(error: unknown): boolean {
  return codesOf(error).some(isTimeCode)
}

export function isTimeCode(code: string): boolean {
  return code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID'
}

/** Whether a certificate did not verify because no trusted authority signed it. */
export function isOfUnknownAuthority(error: unknown): boolean {
  return codesOf(error).some((code) =>
    /^(?:SELF_SIGNED_CERT|DEPTH_ZERO_SELF|UNABLE_TO_(?:GET_ISSUER|VERIFY))/.test(code),
  )
}

function codesOf(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > CAUSES_DEPTH_MAX) return []
  const { code, cause, errors = [] } = error as Error & { code?: unknown; errors?: unknown[] }
  const inner = [cause, ...errors].flatMap((one) => codesOf(one, depth + 1))
  return typeof code === 'string' ? [code, ...inner] : inner
}
