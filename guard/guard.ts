import { execFile } from 'node:child_process'
import { Children } from './children.ts'
import { Control } from './control.ts'
import { GuardPlan, type Role, type Step } from './guard-plan.ts'
import type { OwnedSocket } from './sockets.ts'

/**
 * The guard owns the sockets of this machine's runtimes and never accepts on them: it hands them to the node, or to the
 * relay while the node starts, is broken or was stopped. A connection that comes in between waits in the kernel's queue.
 * The guard loads very little code, so that little in it can fail.
 */

/** How long node and relay may take to end once the guard itself is told to end. */
const END_PATIENCE_MS = 20_000

export interface GuardOptions {
  sockets: readonly OwnedSocket[]
  argv: Record<Role, string[]>
  /** Path of the program that runs both. */
  program: string
  /** Path of the socket for `shoal guard start|stop|status`. */
  control: string | undefined
  isNodeWanted: boolean
  env: NodeJS.ProcessEnv
  say: (text: string) => void
}

export class Guard {
  readonly #plan: GuardPlan
  readonly #children: Children
  readonly #env: NodeJS.ProcessEnv
  readonly #say: (text: string) => void
  readonly #control: Control | undefined
  readonly #gone = Promise.withResolvers<void>()
  #isEnding = false
  #hasAnswered = false

  constructor(options: GuardOptions) {
    this.#plan = new GuardPlan(options)
    this.#env = options.env
    this.#say = options.say
    this.#children = new Children({
      ...options,
      events: {
        said: (role, word) => {
          if (word === 'ready') this.#noteAnswering()
          this.#take(word === 'ready' ? this.#plan.ready(role, performance.now()) : this.#plan.leaving(role))
        },
        exited: (role, how) => {
          this.#say(`the ${role} ended: ${how}`)
          this.#take(this.#plan.exited(role, performance.now()))
        },
        allGone: () => {
          if (this.#isEnding) this.#gone.resolve()
        },
      },
    })
    this.#control =
      options.control === undefined
        ? undefined
        : new Control(options.control, {
            start: () => this.#take(this.#plan.wantNode()),
            stop: () => this.#take(this.#plan.wantNoNode()),
            status: () => ({
              ...this.#plan.phases,
              nodePid: this.#children.pidOf('node'),
              relayPid: this.#children.pidOf('relay'),
            }),
          })
  }

  /** @throws GuardError if the control socket cannot be used */
  async listen(): Promise<void> {
    await this.#control?.listen()
  }

  /** Resolves once everything has ended after `end`. */
  async run(): Promise<void> {
    this.#take(this.#plan.begin())
    await this.#gone.promise
    this.#control?.close()
  }

  /** Lets the node read its settings again. One that does not serve yet reads them anyway. */
  reload(): void {
    const pid = this.#children.pidOf('node')
    if (pid !== undefined && this.#plan.phases.node === 'serving') process.kill(pid, 'SIGHUP')
  }

  end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#notify('STOPPING=1')
    this.#take(this.#plan.end())
    this.#children.endAll(END_PATIENCE_MS)
    if (this.#children.size === 0) this.#gone.resolve()
  }

  #take(steps: Step[]): void {
    for (const step of steps) {
      if (step.do === 'start') this.#children.start(step.role)
      else if (step.do === 'dismiss') this.#children.dismiss(step.role)
      else setTimeout(() => this.#take(this.#plan.wake(step.role)), step.ms)
    }
    const { node, relay } = this.#plan.phases
    if (this.#hasAnswered) this.#notify(`STATUS=node ${node}, relay ${relay}`)
  }

  /** The service counts as started as soon as somebody answers. */
  #noteAnswering(): void {
    if (this.#hasAnswered) return
    this.#hasAnswered = true
    this.#notify('READY=1')
  }

  /** sd_notify(3): Node has no datagram sockets of the unix kind. Without a service manager nothing happens. */
  #notify(state: string): void {
    if (this.#env.NOTIFY_SOCKET === undefined) return
    execFile('systemd-notify', [state], { env: this.#env }, () => undefined)
  }
}
