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
import type { RecentLog } from './recent-log.ts'
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
  /** Keeps the newest lines. */
  recent?: RecentLog
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

/** The least serious level of each log, for all its children too: pino's own are those of their making. */
const LEAST = new WeakMap<object, { value: number }>()

/** Also for the children of the log, from the next line on. */
export function changeLogLevel(log: Logger, level: string): void {
  const least = LEAST.get(log)
  if (least !== undefined) least.value = numberOfLevel(level)
}

function numberOfLevel(level: string): number {
  return pino.levels.values[level] ?? Number.POSITIVE_INFINITY
}

export function createLog(options: LogOptions): Logger {
  const least = { value: numberOfLevel(options.level) }
  const lines = options.destination ?? destination({ dest: 2, sync: true })
  const log = pino(
    {
      level: LOG_LEVELS.at(-2)!,
      hooks: {
        logMethod(args, method, level) {
          if (level >= least.value) method.apply(this, args)
        },
      },
      base: { name: options.name },
      timestamp: stdTimeFunctions.isoTime,
      serializers: { err: (error: unknown) => expectedText(error) ?? stdSerializers.err(error as Error) },
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths(), censor: REDACTED },
    },
    {
      write(line: string) {
        const text = scrubSecrets(line)
        options.recent?.add(text)
        lines.write(text)
      },
    },
  )
  LEAST.set(log, least)
  return log
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
