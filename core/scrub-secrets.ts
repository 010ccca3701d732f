/** What stands where a secret stood. */
export const REDACTED = '[redacted]'

/** Three base64url parts whose first opens a JSON object (RFC 7515 §3.1): a signed token. */
const JWT = /eyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]{4,}/g
/** A PEM private key, up to its end or, when cut, to the end of the JSON string that it stands in. */
const PRIVATE_KEY =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^"\\]|\\.)*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?="|$))/g
/** Shoal's own secrets: the secret part goes, the part that says which one it was stays. */
const SHOAL_SECRET = /\b(SHOAL-1-c[0-9a-f]{16}|SHOALKEY-1)-[\w-]{43}/g
/** Credentials of an Authorization header (RFC 9110 §11.6.2) that someone put into a text. */
const CREDENTIALS = /\b(Bearer|Basic) +[\w+/.~-]{8,}=*/gi

/** `text` without anything that looks like a secret. */
export function scrubSecrets(text: string): string {
  return text
    .replace(JWT, REDACTED)
    .replace(PRIVATE_KEY, REDACTED)
    .replace(SHOAL_SECRET, `$1-${REDACTED}`)
    .replace(CREDENTIALS, `$1 ${REDACTED}`)
}
