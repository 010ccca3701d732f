import { ShoalError } from '../../core/errors.ts'

export const EXIT_FAILED = 1
const EXIT_MISUSED = 2

/**
 * Prints on standard error what ended the program, with its hint; the stack only for unexpected errors.
 * @returns the exit code: 2 for an invalid command line, else 1
 */
export function tellFailure(program: string, error: unknown): number {
  const { message, stack } = error as Error
  const isExpected = error instanceof ShoalError
  process.stderr.write(`${program}: ${isExpected ? message : stack}\n`)
  if (isExpected && error.hint !== undefined) process.stderr.write(`hint: ${error.hint}\n`)
  return isExpected && error.code === 'USAGE' ? EXIT_MISUSED : EXIT_FAILED
}
