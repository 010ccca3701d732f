import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { LabPartError } from './errors.ts'
import type { LabHost } from './machine/network.ts'
import type { LabProcess, LabProcesses } from './machine/processes.ts'

/** Questions that wait for their answer at one time; a watcher asks one. */
const WAITING_MAX = 64

type Waiting = { resolve(body: string): void; reject(error: Error): void }

/** Sends requests to a node's admin listener, which only its own host can reach, through a process on that host. */
export class AdminRelay {
  readonly #process: LabProcess
  readonly #waiting = new Map<string, Waiting[]>()

  constructor(host: LabHost, processes: LabProcesses, port: number) {
    const program = fileURLToPath(new URL('./admin-relay-main.ts', import.meta.url))
    this.#process = processes.startPiped({
      name: `${host.name}-admin-relay`,
      argv: host.command([process.execPath, program, String(port)]),
    })
    const { stdin, stdout } = this.#process.child
    stdin!.on('error', () => this.#failAll())
    createInterface({ input: stdout! })
      .on('line', (line) => this.#answered(line))
      .on('close', () => this.#failAll())
  }

  /**
   * @returns the body of a 200 answer
   * @throws LabPartError for any other, or none
   */
  ask(path: string): Promise<string> {
    const asking = this.#waiting.get(path) ?? []
    if (asking.length >= WAITING_MAX || !this.#process.isRunning()) {
      return Promise.reject(new LabPartError(`${this.#process.name} accepts no more questions`))
    }
    this.#waiting.set(path, asking)
    return new Promise((resolve, reject) => {
      asking.push({ resolve, reject })
      this.#process.child.stdin!.write(`${path}\n`)
    })
  }

  #answered(line: string): void {
    const { path, status, body } = JSON.parse(line) as { path: string; status: number; body: string }
    const waiting = this.#waiting.get(path)?.shift()
    if (status === 200) waiting?.resolve(body)
    else
      waiting?.reject(new LabPartError(`${this.#process.name}: ${path} was answered with ${status} ${body}`))
  }

  #failAll(): void {
    for (const asking of this.#waiting.values()) {
      for (const { reject } of asking.splice(0)) reject(new LabPartError(`${this.#process.name} has ended`))
    }
  }
}
