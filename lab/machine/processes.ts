import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LabClosedError, LabCommandError, LabPartEndedError, LabPartError } from '../errors.ts'
import { LAB_PATH } from './requirements.ts'

/**
 * Starts every process of a lab. Each leads its own process group, so that a Ctrl-C at the terminal reaches only the
 * lab, which then stops them in order. The kernel of Linux sends it SIGTERM when the lab dies unexpectedly.
 */

/** Time for a part to end after SIGTERM; then SIGKILL. dockerd needs about one second. */
const STOP_PATIENCE_MS = 8_000
/** From the start of a part to its first answer, on a machine that is busy starting the others. */
const PART_PATIENCE_MS = 30_000
/** Lines of a log that an error message repeats. */
const LOG_TAIL_LINES = 12
/** Output of one command: an image listing or a log, never a layer. */
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024

export interface PartOptions {
  name: string
  argv: string[]
  env?: Record<string, string>
}

export interface CommandOptions {
  argv: string[]
  env?: Record<string, string>
  /** Standard input, closed after it; may be a promise. */
  input?: string | Promise<string>
  timeoutMs: number
  /** Receives standard output as it arrives, instead of the result. */
  onOutput?: (chunk: Buffer) => void
}

/** A long-running part. `pid` is the part itself: every wrapper replaces itself by the program that it starts. */
export interface LabProcess {
  readonly name: string
  readonly pid: number
  readonly child: ChildProcess
  /** Standard output, and standard error. */
  readonly logFile: string
  readonly errorLogFile: string
  isRunning(): boolean
  /** How it ended; undefined while it runs or when it was stopped. */
  death(): LabPartEndedError | undefined
  /** Resolves when it has ended for any reason. */
  readonly ended: Promise<void>
  /** Sends the signal at once; SIGKILL is how tests crash a part. */
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL; resolves when the process has ended. */
  stop(): Promise<void>
}

export class LabProcesses {
  readonly #logDir: string
  readonly #endingWithLab = endingWithLab()
  readonly #live = new Map<ChildProcess, Promise<void>>()
  readonly #deaths: LabPartEndedError[] = []
  #isClosing = false

  constructor(logDir: string) {
    this.#logDir = logDir
  }

  /** Parts that ended although nobody stopped them, in the order of their end. */
  get deaths(): readonly LabPartEndedError[] {
    return this.#deaths
  }

  /** Starts a part that runs until it is stopped; standard output and error go to `<name>.log` and `<name>.err.log`. */
  start(options: PartOptions): LabProcess {
    const paths = [join(this.#logDir, `${options.name}.log`), join(this.#logDir, `${options.name}.err.log`)]
    const [output, errors] = paths.map((path) => openSync(path, 'a', 0o600)) as [number, number]
    const child = this.#spawn(options.argv, options.env, ['pipe', output, errors])
    closeSync(output)
    closeSync(errors)
    return this.#part(options.name, child, paths as [string, string])
  }

  /** Starts a part whose standard output is read through `child.stdout`. */
  startPiped(options: PartOptions): LabProcess {
    const path = join(this.#logDir, `${options.name}.err.log`)
    const errors = openSync(path, 'a', 0o600)
    const child = this.#spawn(options.argv, options.env, ['pipe', 'pipe', errors])
    closeSync(errors)
    return this.#part(options.name, child, [path, path])
  }

  /**
   * Runs a command to its end.
   * @returns its standard output
   * @throws LabCommandError when it fails or takes longer than `timeoutMs`; LabClosedError when the lab is closing
   */
  async run(options: CommandOptions): Promise<string> {
    const child = this.#spawn(options.argv, options.env, ['pipe', 'pipe', 'pipe'])
    child.stdin!.on('error', () => {}) // The command need not read all of it.
    void Promise.resolve(options.input ?? '').then((input) => child.stdin!.end(input))
    const output: Buffer[] = []
    const errors: Buffer[] = []
    child.stdout!.on('data', options.onOutput ?? ((chunk: Buffer) => keep(output, chunk)))
    child.stderr!.on('data', (chunk: Buffer) => keep(errors, chunk))
    const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), options.timeoutMs)
    await this.#live.get(child)
    clearTimeout(timer)
    if (child.exitCode === 0) return Buffer.concat(output).toString('utf8')
    if (this.#isClosing) throw new LabClosedError('the lab is being closed')
    const how = child.exitCode === null ? `was ended by ${child.signalCode}` : `failed with ${child.exitCode}`
    throw new LabCommandError(
      `${commandName(options.argv)} ${how}: ${lastLines(Buffer.concat(errors).toString())}`,
    )
  }

  /** Stops all running processes at once, and refuses to start more. */
  async close(): Promise<void> {
    this.#isClosing = true
    await Promise.all([...this.#live.keys()].map((child) => this.#stop(child)))
  }

  /** For a lab that must end immediately: kills everything that it started. */
  killAll(): void {
    this.#isClosing = true
    for (const child of this.#live.keys()) signalGroup(child, 'SIGKILL')
  }

  #spawn(argv: string[], env: Record<string, string> = {}, stdio: ('pipe' | number)[]): ChildProcess {
    if (this.#isClosing) throw new LabClosedError('the lab is being closed')
    const [program, ...words] = [...this.#endingWithLab, ...argv]
    const child = spawn(program!, words, {
      detached: true,
      stdio,
      env: { ...plainEnvironment(), ...env },
    })
    this.#live.set(
      child,
      ended(child).then(() => void this.#live.delete(child)),
    )
    return child
  }

  #part(name: string, child: ChildProcess, [logFile, errorLog]: [string, string]): LabProcess {
    let isStopped = false
    let death: LabPartEndedError | undefined
    const isRunning = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined
    const end = this.#live.get(child)!
    void end.then(() => {
      if (isStopped || this.#isClosing) return
      const words = lastLines(readLog(errorLog) || readLog(logFile))
      death = new LabPartEndedError(`${name} ended by itself: ${words}`)
      this.#deaths.push(death)
    })
    return {
      name,
      pid: child.pid ?? -1,
      child,
      logFile,
      errorLogFile: errorLog,
      isRunning,
      ended: end,
      death: () => death,
      kill(signal) {
        isStopped = true
        signalGroup(child, signal)
      },
      stop: () => {
        isStopped = true
        return this.#stop(child)
      },
    }
  }

  async #stop(child: ChildProcess): Promise<void> {
    const end = this.#live.get(child)
    if (end === undefined) return
    signalGroup(child, 'SIGTERM')
    const patience = new AbortController()
    const late = delay(STOP_PATIENCE_MS, true, { signal: patience.signal }).catch(() => false)
    const isLate = await Promise.race([end.then(() => false), late])
    patience.abort()
    if (isLate) signalGroup(child, 'SIGKILL')
    await end
  }
}

/**
 * Calls `ask` until the answer is neither undefined nor an error.
 * @throws LabPartError after `patienceMs`, with the last error; LabClosedError and LabPartEndedError at once
 */
export async function waitFor<Value>(
  what: string,
  patienceMs: number,
  ask: () => Promise<Value | undefined>,
): Promise<Value> {
  const deadline = Date.now() + patienceMs
  const pauseMs = 50
  let cause: unknown
  while (Date.now() < deadline) {
    try {
      const value = await ask()
      if (value !== undefined) return value
    } catch (error) {
      if (error instanceof LabClosedError || error instanceof LabPartEndedError) throw error
      cause = error
    }
    await delay(pauseMs)
  }
  throw new LabPartError(`${what} is not ready after ${patienceMs} ms`, { cause })
}

/**
 * Waits until a started part answers.
 * @throws LabPartEndedError with its last output when it has ended; LabPartError when it takes too long
 */
export function waitForPart<Value>(part: LabProcess, ask: () => Promise<Value | undefined>): Promise<Value> {
  return waitFor(part.name, PART_PATIENCE_MS, async () => {
    const death = part.death()
    if (death !== undefined) throw death
    return ask()
  })
}

/** What lets the kernel end a part when the lab dies; nothing where a machine has no such program. */
function endingWithLab(): string[] {
  const argv = ['setpriv', '--pdeathsig', 'TERM', '--']
  const { status } = spawnSync(argv[0]!, [...argv.slice(1), process.execPath, '--version'], {
    env: plainEnvironment(),
  })
  return status === 0 ? argv : []
}

/** Only the PATH passes to a part, and none of the caller's proxies, daemons or credentials. */
function plainEnvironment(): Record<string, string> {
  return { PATH: LAB_PATH, HOME: '/nonexistent', LANG: 'C.UTF-8' }
}

/** Resolves when the process has ended and its output is read; a program that cannot be started counts as ended. */
function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once('close', () => resolve()).once('error', () => resolve()))
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // It ended at this moment.
  }
}

function keep(chunks: Buffer[], chunk: Buffer): void {
  const kept = chunks.reduce((total, { length }) => total + length, 0)
  if (kept < OUTPUT_BYTES_MAX) chunks.push(chunk)
}

function commandName(argv: string[]): string {
  const program = argv.lastIndexOf('--') + 1
  return argv.slice(program, program + 2).join(' ')
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-LOG_TAIL_LINES).join('\n')
}
