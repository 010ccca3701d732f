import {
  type DestinationStream,
  destination,
  type Logger,
  pino,
  stdSerializers,
  stdTimeFunctions,
} from 'pino'
import { isDefect, isSystemError } from './defects.ts'
import { reasonOf, ShoalError } from './errors.ts'
import { REDACTED, scrubSecrets } from './scrub-secrets.ts'

/**
 * Logs are JSON lines on standard error; standard output is for results. No secret leaves in them: fields with a secret's
 * name are redacted, and every finished line is searched for text that looks like one (in messages, nested fields, stacks
 * and causes of errors). An expected failure is its code and its reason; only defects have a stack.
 */
export interface LogOptions {
  /** `silent` writes nothing. */
  level: string
  /** The program: `node`, `tracker`. */
  name: string
  /** Destination of finished lines; default standard error. */
  destination?: DestinationStream
}

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

/** Names of fields whose values are never written. */
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
/** How deep field names in a log object are checked: `req.headers.authorization` is at depth 2. */
const SECRET_FIELD_DEPTH_MAX = 4

export function createLog(options: LogOptions): Logger {
  const lines = options.destination ?? destination({ dest: 2, sync: true })
  return pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: stdTimeFunctions.isoTime,
      serializers: { err: (error: unknown) => expectedText(error) ?? stdSerializers.err(error as Error) },
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths(), censor: REDACTED },
    },
    { write: (line: string) => lines.write(scrubSecrets(line)) },
  )
}

/** Undefined for a defect, or for anything that a defect caused. */
function expectedText(error: unknown): { code: string; reason: string } | undefined {
  if (!(error instanceof ShoalError) && !isSystemError(error)) return undefined
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if (isDefect(cause)) return undefined
  }
  return { code: error.code ?? 'UNKNOWN', reason: reasonOf(error) }
}

function secretPaths(): string[] {
  const paths: string[] = []
  for (let depth = 0; depth <= SECRET_FIELD_DEPTH_MAX; depth++) {
    const prefix = '*'.repeat(depth).split('').join('.')
    paths.push(...SECRET_FIELDS.map((field) => `${prefix}["${field}"]`))
  }
  return paths
}
