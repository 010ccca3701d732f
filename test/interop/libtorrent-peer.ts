import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../lab/machine/free-port.ts'
import { SYSTEM_PYTHON } from '../../lab/machine/requirements.ts'

export interface LibtorrentSettings {
  /** Paths. */
  torrent: string
  certificate: string
  key: string
  saveFolder: string
  isSeed: boolean
  /** Where it is to accept SSL peers; a free port when left out. */
  listenPort?: number
}

export interface LibtorrentStatus {
  infoHash: string
  state: string
  isSeed: boolean
  peers: number
  downloadedBytes: number
  uploadedBytes: number
  doneBytes: number
  trackers: { url: string; message: string }[]
}

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'libtorrent-peer.py')
const ANSWER_MS_MAX = 15_000
const POLL_MS = 100

/** A libtorrent session with one torrent, in a process of its own. */
export class LibtorrentPeer {
  /** Where it accepts SSL peers, on 127.0.0.1. */
  readonly port: number
  /** What libtorrent said: `<kind of alert>: <message>`. */
  readonly alerts: string[] = []
  readonly #child: ChildProcess
  readonly #statuses: ((status: LibtorrentStatus) => void)[] = []
  readonly #ready: Promise<void>

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
    this.#ready = new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`libtorrent ended with ${code}`)))
      createInterface({ input: child.stdout! }).on('line', (line) => this.#take(JSON.parse(line), resolve))
    })
    this.#ready.catch(() => undefined)
  }

  static async start(settings: LibtorrentSettings): Promise<LibtorrentPeer> {
    const port = settings.listenPort ?? (await freePort())
    const child = spawn(SYSTEM_PYTHON, [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] })
    const peer = new LibtorrentPeer(child, port)
    peer.#tell({ ...settings, listenPort: port })
    await peer.#ready
    return peer
  }

  connect(port: number): void {
    this.#tell({ connect: port })
  }

  status(): Promise<LibtorrentStatus> {
    const answer = new Promise<LibtorrentStatus>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('libtorrent does not answer')), ANSWER_MS_MAX)
      this.#statuses.push((status) => {
        clearTimeout(timer)
        resolve(status)
      })
    })
    this.#tell({ status: true })
    return answer
  }

  /** Waits until the status is as wanted; then, or when time is up, resolves with the last one. */
  async until(
    isReached: (status: LibtorrentStatus) => boolean,
    patienceMs: number,
  ): Promise<LibtorrentStatus> {
    const endMs = Date.now() + patienceMs
    for (;;) {
      const status = await this.status()
      if (isReached(status) || Date.now() > endMs) return status
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  /** Waits for an alert. @throws when time is up, with all that libtorrent said */
  async alerted(pattern: RegExp, patienceMs: number): Promise<string> {
    const endMs = Date.now() + patienceMs
    for (;;) {
      const found = this.alerts.find((alert) => pattern.test(alert))
      if (found !== undefined) return found
      if (Date.now() > endMs)
        throw new Error(`libtorrent said nothing like ${pattern}:\n${this.alerts.join('\n')}`)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.stdin!.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_MS_MAX)
    await exited
    clearTimeout(timer)
  }

  #tell(line: object): void {
    this.#child.stdin!.write(`${JSON.stringify(line)}\n`)
  }

  #take(
    line: { ready?: boolean; alert?: string; message?: string; status?: LibtorrentStatus },
    resolveReady: () => void,
  ): void {
    if (line.ready) resolveReady()
    if (line.alert !== undefined) this.alerts.push(`${line.alert}: ${line.message}`)
    if (line.status) this.#statuses.shift()?.(line.status)
  }
}
