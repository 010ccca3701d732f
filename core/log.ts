import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino'

/**
 * Logs are JSON lines on standard error; standard output belongs to results. No secret leaves in them: fields with a
 * secret's name are redacted, and every finished line is searched for what looks like one (messages, nested fields,
 * stacks and causes of errors alike).
 */
export interface LogOptions {
  /** `silent` writes nothing. */
  level: string
  /** The program: `node`, `tracker`. */
  name: string
  /** Where finished lines go; standard error when absent. */
  destination?: DestinationStream
}

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

/** Names of fields whose values are never written, whatever they hold. */
const SECRET_FIELDS = [
  'authorization',
  'Authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'token',
  'access_token',
  'refresh_token',
  'joinToken',
  'peerToken',
  'jwt',
  'credential',
  'credentials',
  'password',
  'secret',
  'key',
  'privateKey',
  'privateKeyPem',
  'unlockKey',
  'passphrase',
]
/** How deep in a log object field names are looked at: `req.headers.authorization` is at depth 2. */
const SECRET_FIELD_DEPTH_MAX = 4

const REDACTED = '[redacted]'

export function createLog(options: LogOptions): Logger {
  const lines = options.destination ?? destination({ dest: 2, sync: true })
  return pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths(), censor: REDACTED },
    },
    { write: (line: string) => lines.write(scrubSecrets(line)) },
  )
}

function secretPaths(): string[] {
  const paths: string[] = []
  for (let depth = 0; depth <= SECRET_FIELD_DEPTH_MAX; depth++) {
    const prefix = '*'.repeat(depth).split('').join('.')
    paths.push(...SECRET_FIELDS.map((field) => `${prefix}["${field}"]`))
  }
  return paths
}

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
