import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import {
  type GuardWord,
  KEEP,
  KEEPS_VARIABLE,
  LINE_VARIABLE,
  readLines,
  SOCKETS_VARIABLE,
  socketsText,
} from '../core/guard-line.ts'
import type { Role } from './guard-plan.ts'
import type { OwnedSocket } from './sockets.ts'

/** A child's first descriptor after its standard ones: the line; the sockets follow. */
const LINE_DESCRIPTOR = 3
/**
 * How long a dismissed child may finish what it serves: a node its layers, a relay its tunnels, through which runtimes may
 * pull layers of gigabytes.
 */
export const LEAVE_PATIENCE_MS: Record<Role, number> = { node: 45_000, relay: 15 * 60_000 }
/** Bound of dismissed relays that still finish tunnels; with one more, the oldest is killed. */
export const LEAVING_MAX = 8

export interface ChildEvents {
  said(role: Role, word: GuardWord): void
  /** The current child of that role is gone. */
  exited(role: Role, how: string): void
  /** No process is left. */
  allGone(): void
}

export interface ChildOptions {
  sockets: readonly OwnedSocket[]
  /** The arguments for this very program. */
  argv: Record<Role, string[]>
  program: string
  env: NodeJS.ProcessEnv
  events: ChildEvents
}

/** The processes that answer on the guard's sockets. */
export class Children {
  readonly #options: ChildOptions
  readonly #current = new Map<Role, ChildProcess>()
  /** Dismissed, oldest first. */
  readonly #leaving = new Set<ChildProcess>()
  /** What one node leaves to the next. */
  #kept = ''

  constructor(options: ChildOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#current.size + this.#leaving.size
  }

  pidOf(role: Role): number | undefined {
    return this.#current.get(role)?.pid
  }

  start(role: Role): void {
    const { events } = this.#options
    let child: ChildProcess
    try {
      child = this.#spawn(role)
    } catch (error) {
      // The machine is out of memory or processes. As for a child that ends at once, the next try comes later.
      setImmediate(() => events.exited(role, (error as Error).message))
      return
    }
    this.#current.set(role, child)
    // When descriptors have run out, there are no pipes at all.
    const line = child.stdio?.[LINE_DESCRIPTOR] as Duplex | null | undefined
    if (line) {
      readLines(line, (word) => {
        if (this.#current.get(role) !== child) return
        if (word === 'ready' || word === 'leaving') events.said(role, word)
        else if (role === 'node' && word.startsWith(KEEP)) this.#kept = word.slice(KEEP.length)
      })
      if (role === 'node') line.write(`${this.#kept}\n`)
    }
    let isGone = false
    const gone = (how: string) => {
      if (isGone) return
      isGone = true
      line?.destroy()
      this.#leaving.delete(child)
      if (this.#current.get(role) === child) {
        this.#current.delete(role)
        events.exited(role, how)
      }
      if (this.size === 0) events.allGone()
    }
    child.once('exit', (code, signal) => gone(signal ?? `exit status ${code}`))
    child.once('error', (error) => gone(error.message))
  }

  #spawn(role: Role): ChildProcess {
    const { sockets, argv, program, env } = this.#options
    const numbered = new Map(sockets.map(({ name }, index) => [name, LINE_DESCRIPTOR + 1 + index]))
    return spawn(process.execPath, [program, ...argv[role]], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', ...sockets.map(({ descriptor }) => descriptor)],
      env: {
        ...withoutListenVariables(env),
        [SOCKETS_VARIABLE]: socketsText(numbered),
        [LINE_VARIABLE]: String(LINE_DESCRIPTOR),
        ...(role === 'node' && { [KEEPS_VARIABLE]: '1' }),
      },
    })
  }

  /** Asks the current child of the role to finish and go; a node stays current until it has gone. */
  dismiss(role: Role, patienceMs = LEAVE_PATIENCE_MS[role]): void {
    const child = this.#current.get(role)
    if (child === undefined) return
    if (role === 'relay') {
      this.#current.delete(role)
      this.#leaving.add(child)
      if (this.#leaving.size > LEAVING_MAX) this.#leaving.values().next().value?.kill('SIGKILL')
    }
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs)
    child.once('exit', () => clearTimeout(timer))
  }

  /** Kills what has not ended after this time. */
  endAll(patienceMs: number): void {
    setTimeout(() => {
      for (const child of [...this.#current.values(), ...this.#leaving]) child.kill('SIGKILL')
    }, patienceMs).unref()
  }
}

/** A child is no service of the service manager: it must neither take the sockets again nor report for the guard. */
function withoutListenVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { LISTEN_FDS: _fds, LISTEN_PID: _pid, LISTEN_FDNAMES: _names, NOTIFY_SOCKET: _notify, ...rest } = env
  return rest
}
