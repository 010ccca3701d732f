import { StoreConflictError, StoreUnavailableError, StoreUnusableError } from '../../errors.ts'

/** The server was stopped, or takes no more connections (PostgreSQL, appendix A: class 57, 53, 08). */
const UNAVAILABLE = /^(?:57P0\d|57014|53\w{3}|08\w{3}|25006|55P03|25P03)$/
const UNREACHABLE =
  /^(?:E[A-Z]{2,}|EAI_AGAIN|ERR_TLS\w*|ERR_SSL\w*|CERT_\w+|SELF_SIGNED\w*|DEPTH_ZERO\w*|UNABLE_TO\w*)$/
/** Errors of the client library have no code. */
const UNREACHABLE_WORDS =
  /Connection terminated|timeout exceeded when trying to connect|does not support SSL|Client has encountered a connection error|Client was closed|Cannot use a pool after/
/** serialization_failure, deadlock_detected */
const MET_ANOTHER = new Set(['40001', '40P01'])
/** A standby answers, or a primary that became one. */
const READ_ONLY = '25006'

/** Errors that say something of the database, as ours; a defect stays what it is. */
export function asStoreError(error: unknown): unknown {
  if (error instanceof StoreUnavailableError || error instanceof StoreConflictError) return error
  const code = codeOf(error)
  if (code === '28P01' || code === '28000')
    return new StoreUnusableError('the database refuses this user or its password', { cause: error })
  const { message } = error as Error
  if (!UNAVAILABLE.test(code) && !UNREACHABLE.test(code) && !UNREACHABLE_WORDS.test(message)) return error
  return new StoreUnavailableError(`the database cannot be reached: ${message}`, { cause: error })
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : ''
}

/** The server undid the step because it met another one. */
export function hasMetAnother(error: unknown): boolean {
  return MET_ANOTHER.has(codeOf(error))
}

/** Without a cause it is ours: the server did not answer in time, or is no primary. Other connections to it are not better. */
export function isOfWholeServer(error: unknown): boolean {
  return (
    error instanceof StoreUnavailableError && (error.cause === undefined || codeOf(error.cause) === READ_ONLY)
  )
}
