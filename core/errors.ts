/**
 * Base of every expected failure in Shoal. `code` is stable and documented in docs/errors.md; the message is for
 * people. A bug is an assertion, not a ShoalError: it costs one
 * connection, request or job (defects.ts).
 */
export abstract class ShoalError extends Error {
  /** Stable, upper snake case; what callers and tests compare. */
  abstract readonly code: string
  /** What the person who reads the message can do about it; printed after it on command lines. */
  readonly hint?: string

  constructor(message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    if (options.hint !== undefined) this.hint = options.hint
  }
}

/** A value from outside does not have the shape it must have: refuse the request or message it came in. */
export class InvalidInputError extends ShoalError {
  readonly code = 'INVALID_INPUT'
}

/** The command line cannot be understood: print message and hint, and exit with 2. */
export class UsageError extends ShoalError {
  readonly code = 'USAGE'
}

/** A listener's address is taken, or cannot be used: stop the program. */
export class ListenFailedError extends ShoalError {
  readonly code = 'LISTEN_FAILED'

  /** @param purpose the config key */
  constructor(purpose: string, { host, port }: { host: string; port: number }, cause: Error) {
    super(`${purpose} cannot listen on ${host}:${port}: ${cause.message}`, {
      cause,
      hint: 'Does another Shoal, or another program, use it? Stop that, or choose another address.',
    })
  }
}
