import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { BenchPeerError } from './errors.ts'

/**
 * A process that answers questions one after the other: a line of JSON on its standard input, a line of JSON back. It
 * ends when its standard input ends, so it does not outlive a benchmark that was killed.
 */
export interface LineProcess {
  readonly pid: number
  /**
   * Waits until earlier questions have been answered.
   * @throws BenchPeerError when it answers `{"error": …}`, or ends
   */
  ask<Answer = Record<string, never>>(question: Record<string, unknown>): Promise<Answer>
  stop(): Promise<void>
}

/** Length of standard error that an error message repeats. */
const ERROR_CHARS_MAX = 4000
/** Time for a process to end after its input has ended; then SIGKILL. */
const STOP_PATIENCE_MS = 5_000

export function startLineProcess(argv: [string, ...string[]]): LineProcess {
  const [program, ...programArguments] = argv
  const child = spawn(program, programArguments, { stdio: ['pipe', 'pipe', 'pipe'] })
  const errors = keepTail(child)
  const ended = endOf(child)
  let answered = Promise.withResolvers<unknown>()
  let last: Promise<unknown> = Promise.resolve()
  child.stdin.on('error', () => {}) // That the process has ended shows in `ended`.
  createInterface({ input: child.stdout }).on('line', (line) => answered.resolve(JSON.parse(line)))
  const exchange = async (question: Record<string, unknown>) => {
    answered = Promise.withResolvers()
    child.stdin.write(`${JSON.stringify(question)}\n`)
    const answer = await Promise.race([answered.promise, ended])
    const name = argv.slice(0, 2).join(' ')
    if (typeof answer === 'string') throw new BenchPeerError(`${name} ended ${answer}: ${errors()}`)
    const { error } = answer as { error?: string }
    if (error !== undefined) throw new BenchPeerError(`${name} failed: ${error} ${errors()}`)
    return answer
  }
  return {
    pid: child.pid ?? -1,
    ask<Answer>(question: Record<string, unknown>) {
      const answer = last.then(() => exchange(question))
      last = answer.catch(() => undefined)
      return answer as Promise<Answer>
    },
    async stop() {
      child.stdin.end()
      await endWithin(child, ended)
    },
  }
}

/** Waits for the end, and forces it after a timeout. */
export async function endWithin(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS)
  await ended
  clearTimeout(timer)
}

/** @returns how the process ended, in words */
export async function endOf(child: ChildProcess): Promise<string> {
  try {
    const [code, signal] = await once(child, 'exit')
    return code === null ? `by ${signal}` : `with ${code}`
  } catch (error) {
    return (error as Error).message
  }
}

function keepTail(child: ChildProcess): () => string {
  let tail = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-ERROR_CHARS_MAX)
  })
  return () => tail
}
