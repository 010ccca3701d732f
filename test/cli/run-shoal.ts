import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const SHOAL = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const PATIENCE_MS = 50_000

export interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  input?: string
  /** Where it is started. */
  folder?: string
  /** After this it is killed. */
  patienceMs?: number
}

/** The environment of a test's children: nobody's own settings reach them. */
function cleanEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SHOAL_'))
  return { ...Object.fromEntries(inherited), ...extra }
}

/** Runs `shoal …` as a person would, to its end. */
export async function runShoal(argv: string[], options: RunOptions = {}): Promise<Outcome> {
  const started = startShoal(argv, options)
  started.child.stdin?.end(options.input ?? '')
  return started.outcome
}

export interface StartedShoal {
  child: ChildProcess
  outcome: Promise<Outcome>
  /** Resolves once standard output holds `text`; rejects when the program ends first. */
  printed(text: string): Promise<string>
}

/** Starts `shoal …`; the caller stops it by a signal. It is killed when it runs for too long. */
export function startShoal(argv: string[], options: RunOptions = {}): StartedShoal {
  const child = spawn(process.execPath, [SHOAL, ...argv], {
    env: cleanEnvironment(options.env),
    cwd: options.folder,
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), options.patienceMs ?? PATIENCE_MS)
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  const outcome = new Promise<Outcome>((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, ...output })
    })
  })
  const printed = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const look = () => output.stdout.includes(text) && resolve(output.stdout)
      child.stdout.on('data', look)
      look()
      outcome.then(({ stderr }) => reject(new Error(`ended before it printed ${text}: ${stderr}`)))
    })
  return { child, outcome, printed }
}
