/**
 * Base of every expected failure in Shoal. `code` is stable and documented in docs/errors.md; the message is for
 * people. Bugs are assertions and not ShoalErrors: each costs one
 * connection, request or job (defects.ts).
 */
export abstract class ShoalError extends Error {
  /** Stable, in upper snake case; callers and tests compare it. */
  abstract readonly code: string
  /** What the reader can do about it; command lines print it after the message. */
  readonly hint?: string

  constructor(message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    if (options.hint !== undefined) this.hint = options.hint
  }
}

/** Bound of an error's causes in one text. */
const CAUSES_MAX = 4

/** An error's message and those of its causes, in one line: why something expected failed, without a stack. */
export function reasonOf(error: unknown): string {
  const messages: string[] = []
  for (let at = error; at instanceof Error && messages.length <= CAUSES_MAX; at = at.cause) {
    // Of several addresses that were tried, the first says enough (AggregateError has no message of its own).
    const message = at instanceof AggregateError && at.message === '' ? reasonOf(at.errors[0]) : wordsOf(at)
    if (message !== '' && !messages.some((before) => before.includes(message))) messages.push(message)
  }
  return messages.join(': ') || 'unknown'
}

/** What the system calls `getaddrinfo ENOTFOUND x` or `connect ECONNREFUSED x:1`, for people; its code stays, for searches. */
function wordsOf(error: Error): string {
  const { code, syscall, hostname, address, port } = error as NodeJS.ErrnoException & Place
  if (syscall === 'getaddrinfo' && hostname !== undefined) {
    const isGone = code === 'ENOTFOUND'
    return `${isGone ? 'no name server knows' : 'no name server answered for'} ${hostname} (${code})`
  }
  const words = CONNECT_WORDS[code ?? '']
  if (syscall !== 'connect' || words === undefined || port === undefined) return error.message
  return `${address}:${port} ${words} (${code})`
}

interface Place {
  hostname?: string
  address?: string
  port?: number
}

const CONNECT_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections',
  ETIMEDOUT: 'does not answer',
  EHOSTUNREACH: 'cannot be reached from here',
  ENETUNREACH: 'cannot be reached from here',
}

/** A value from outside does not have the required form: refuse its request or message. */
export class InvalidInputError extends ShoalError {
  readonly code = 'INVALID_INPUT'
}

/** Shoal does not understand the command line: print message and hint, and exit with 2. */
export class UsageError extends ShoalError {
  readonly code = 'USAGE'
}

/** A listener's address is taken or cannot be used: stop the program. */
export class ListenFailedError extends ShoalError {
  readonly code = 'LISTEN_FAILED'

  /** @param purpose the config key */
  constructor(purpose: string, address: { host: string; port: number } | string, cause: Error) {
    const where = typeof address === 'string' ? address : `${address.host}:${address.port}`
    super(`${purpose} cannot listen on ${where}: ${cause.message}`, {
      cause,
      hint: 'Another Shoal or another program may use it. Stop that program, or choose another address.',
    })
  }
}
