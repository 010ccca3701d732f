import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { LabCommandError } from '../errors.ts'

/** Longer than any page takes: `shoal doctor` has fifteen seconds. */
const PATIENCE_MS = 30_000
/** More than any page has lines. */
const ROWS = 200

export interface Typed {
  argv: string[]
  columns: number
  /** The whole of it. */
  env: NodeJS.ProcessEnv
}

/** Runs a program on a terminal of its own (a pty, by script(1)). @returns what it wrote, whatever its exit code says */
export async function onTerminal({ argv, columns, env }: Typed): Promise<string> {
  const words = argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
  const line = `stty cols ${columns} rows ${ROWS}; exec ${words}`
  const child = spawn('script', ['--quiet', '--command', line, '/dev/null'], {
    env: { ...env, TERM: 'xterm-256color' },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: PATIENCE_MS,
  })
  const failed = new Promise<never>((_resolve, reject) => child.once('error', reject))
  const output = await Promise.race([text(child.stdout), failed])
  if (output.trim() === '') throw new LabCommandError(`${argv.join(' ')} wrote nothing to its terminal`)
  return output
}
