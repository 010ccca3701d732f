import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'

/** Processes of other users of this machine; only root can start them. Each ends with its test, or by itself. */

const LIFE_MS = 60_000

/** Opens idle connections as another user, and holds them, whatever comes; opens new ones for those that are cut. */
export class ConnectionHog {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** @returns once it has tried them all */
  static async start(
    uid: number,
    { port, count, bytes = 'C' }: { port: number; count: number; bytes?: string },
  ) {
    // Node is read with our rights, as the checkout may not be for everybody, and gives them up then.
    const program = `
      process.setgroups([]); process.setgid(${uid}); process.setuid(${uid})
      const { connect } = require('node:net')
      let tried = 0
      const open = () => {
        const socket = connect(${port}, '127.0.0.1')
        socket.on('error', () => {})
        socket.on('connect', () => socket.write(${JSON.stringify(bytes)}))
        socket.on('close', () => setTimeout(open, 1000))
        tried += 1
        if (tried === ${count}) console.log('tried')
      }
      for (let index = 0; index < ${count}; index++) open()
      setTimeout(() => process.exit(), ${LIFE_MS})`
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' })
    await once(child.stdout!, 'data')
    // Until all of them have been judged, and those that were cut are opened anew.
    await wait(500)
    return new ConnectionHog(child)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

/** Runs a program of the system as another user. @returns its exit code */
export async function runAs(uid: number, program: string, ...rest: string[]): Promise<number | null> {
  const user = ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups']
  const child = spawn('setpriv', [...user, program, ...rest], { stdio: 'ignore', cwd: '/', timeout: LIFE_MS })
  const [code] = await once(child, 'exit')
  return code
}
