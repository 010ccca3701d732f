/** The text in place of a secret. */
export const REDACTED = '[redacted]'

/**
 * Base64url parts joined by dots, from the first to the last. A part that opens a JSON object (`eyJ`) makes it a signed
 * token (RFC 7515 §3.1). Matches only from the start of such a run, so that a long line takes linear time.
 */
const DOTTED_PARTS = /(?<![\w-])[\w-]+(?:\.[\w-]+){2,}/g
/** A PEM private key up to its end or, if cut, to the end of its JSON string. */
const PRIVATE_KEY =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^"\\]|\\[\s\S])*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?="|\\?$))/g
/** Shoal's own secrets: removes the secret part, and keeps the part that names it. */
const SHOAL_SECRET = /\b(SHOAL-1-c[0-9a-f]{16}|SHOALKEY-1|SHOALJOIN-1|SHOALADMIN-1)-[\w-]{43,}/g
/** Credentials of an Authorization header (RFC 9110 §11.6.2) inside a text. */
const CREDENTIALS = /\b(Bearer|Basic) +[\w+/.~-]{8,}=*/gi
/**
 * User info (RFC 3986 §3.2.1) of a URL, and of an authority without a scheme (CONNECT's target) if it has a password.
 * Reaches to the last `@`, because passwords may have one. An image by tag and digest (`app:v1@sha256:…`) does not match.
 */
const URL_USER_INFO = /(:\/\/)[^\s"/?#]*@/g
const AUTHORITY_USER_INFO = /(?<![^\s"/?#])[^\s"/?#]+@(?!sha(?:256|512):)/g
/** Values in a URL's query: in a registry's redirect they open the object. */
const QUERY_VALUE = /([?&][^\s"=&#\\]{1,64}=)[^\s"&#\\]+/g

/** `text` without anything that looks like a secret. */
export function scrubSecrets(text: string): string {
  return withoutUserInfo(text)
    .replace(DOTTED_PARTS, (parts) => (parts.includes('eyJ') ? REDACTED : parts))
    .replace(PRIVATE_KEY, REDACTED)
    .replace(SHOAL_SECRET, `$1-${REDACTED}`)
    .replace(CREDENTIALS, `$1 ${REDACTED}`)
    .replace(QUERY_VALUE, `$1${REDACTED}`)
}

function withoutUserInfo(text: string): string {
  // Check first: most lines have none, and the search costs more than everything else.
  if (!text.includes('@')) return text
  return text
    .replace(URL_USER_INFO, `$1${REDACTED}@`)
    .replace(AUTHORITY_USER_INFO, (info) => (info.includes(':') ? `${REDACTED}@` : info))
}
