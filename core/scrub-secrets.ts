/** What stands where a secret stood. */
export const REDACTED = '[redacted]'

/**
 * Base64url parts joined by dots, from the first to the last: one that opens a JSON object (`eyJ`) makes it a signed
 * token (RFC 7515 §3.1). Starts where such a run starts only, so that a long line takes linear time.
 */
const DOTTED_PARTS = /(?<![\w-])[\w-]+(?:\.[\w-]+){2,}/g
/** A PEM private key, up to its end or, when cut, to the end of the JSON string that it stands in. */
const PRIVATE_KEY =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^"\\]|\\[\s\S])*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?="|\\?$))/g
/** Shoal's own secrets: the secret part goes, the part that says which one it was stays. */
const SHOAL_SECRET = /\b(SHOAL-1-c[0-9a-f]{16}|SHOALKEY-1)-[\w-]{43}/g
/** Credentials of an Authorization header (RFC 9110 §11.6.2) that someone put into a text. */
const CREDENTIALS = /\b(Bearer|Basic) +[\w+/.~-]{8,}=*/gi

/** `text` without anything that looks like a secret. */
export function scrubSecrets(text: string): string {
  return text
    .replace(DOTTED_PARTS, (parts) => (parts.includes('eyJ') ? REDACTED : parts))
    .replace(PRIVATE_KEY, REDACTED)
    .replace(SHOAL_SECRET, `$1-${REDACTED}`)
    .replace(CREDENTIALS, `$1 ${REDACTED}`)
}
