import { opendirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { BoundedMap } from '../core/bounded-map.ts'

/** What a process is, as far as this process may see it: for others than its own user's that needs root, or capabilities. */
export interface Program {
  /** Absolute path. */
  executable?: string
  /** The systemd service or scope that it runs in, as `docker.service`. */
  unit?: string
}

/** Searches for processes take at most one part in this many of our time, however many connections arrive. */
const SEARCH_TIME_PARTS = 5
/** Bound of the pause after a search, because somebody may wait for the next one. */
const SEARCH_REST_MS_MAX = 50
/** Bound of one user's processes with open files that are searched, the newest first: the kernel's own threads are root's and have none. */
export const OWNER_PROCESSES_MAX = 512
/** Bound of one process's descriptors that are searched: a dockerd has several per container. */
export const OWNER_DESCRIPTORS_MAX = 8192
/** System calls before other work gets its turn. Each takes about 3 microseconds. */
const SYSTEM_CALLS_PER_TURN = 64
/** Bound of processes known to make connections; they are searched first, as a daemon makes many. */
const KNOWN_PROCESSES_MAX = 32
/** Bound of one search, however many processes there are. */
const SEARCH_MS_MAX = 1000

interface Wanted {
  holder: Promise<number | undefined>
  found(pid: number | undefined): void
  /** The connection has ended: no process holds its other end any more. */
  isGone(): boolean
}

/** Finds the processes that hold sockets. Runs one search at a time, each for all wanted sockets of one user. */
export class SocketHolders {
  readonly #wanted = new Map<number, Map<string, Wanted>>()
  readonly #known = new BoundedMap<number, true>(KNOWN_PROCESSES_MAX)
  #isSearching = false

  /** @param link the text of the link in /proc/<pid>/fd */
  find(uid: number, link: string, isGone: () => boolean): Promise<number | undefined> {
    const wanted = this.#wanted.get(uid) ?? new Map<string, Wanted>()
    this.#wanted.set(uid, wanted)
    const before = wanted.get(link)
    if (before !== undefined) return before.holder
    const { promise: holder, resolve: found } = Promise.withResolvers<number | undefined>()
    wanted.set(link, { holder, found, isGone })
    if (!this.#isSearching) void this.#searchAll()
    return holder
  }

  /** Users in the order in which they began to wait. */
  async #searchAll(): Promise<void> {
    this.#isSearching = true
    for (const [uid, wanted] of this.#wanted) {
      this.#wanted.delete(uid)
      const beganAtMs = performance.now()
      await this.#search(uid, wanted).catch(() => undefined)
      for (const { found } of wanted.values()) found(undefined)
      await wait(Math.min((SEARCH_TIME_PARTS - 1) * (performance.now() - beganAtMs), SEARCH_REST_MS_MAX))
    }
    this.#isSearching = false
  }

  async #search(uid: number, wanted: Map<string, Wanted>): Promise<void> {
    const untilMs = performance.now() + SEARCH_MS_MAX
    let seen = 0
    let searched = 0
    for (const pid of this.#processes()) {
      seen += 1
      if (seen % SYSTEM_CALLS_PER_TURN === 0) await turn()
      if (userOfProcess(pid) !== uid) continue
      forgetGone(wanted)
      if (wanted.size === 0 || performance.now() > untilMs) return
      if (await this.#searchIn(pid, wanted)) searched += 1
      if (searched === OWNER_PROCESSES_MAX || wanted.size === 0) return
    }
  }

  /** Known ones first; the others are listed only when they are needed. */
  *#processes(): Iterable<number> {
    const known = [...this.#known.keys()].reverse()
    yield* known
    for (const pid of processesNewestFirst()) if (!known.includes(pid)) yield pid
  }

  /** @returns whether the process has open files that we may see */
  async #searchIn(pid: number, wanted: Map<string, Wanted>): Promise<boolean> {
    let count = 0
    try {
      using descriptors = opendirSync(`/proc/${pid}/fd`)
      while (count < OWNER_DESCRIPTORS_MAX && wanted.size > 0) {
        const entry = descriptors.readSync()
        if (entry === null) break
        count += 1
        this.#compare(pid, readlinkOf(`/proc/${pid}/fd/${entry.name}`) ?? '', wanted)
        if (count % SYSTEM_CALLS_PER_TURN === 0) await turn()
      }
    } catch {
      // The process has ended, or we may not see it.
    }
    return count > 0
  }

  #compare(pid: number, link: string, wanted: Map<string, Wanted>): void {
    const one = wanted.get(link)
    if (one === undefined) return
    wanted.delete(link)
    this.#known.set(pid, true)
    one.found(pid)
  }
}

/** Many connections are short. Searching every process for one that ended would be in vain. */
function forgetGone(wanted: Map<string, Wanted>): void {
  for (const [link, { found, isGone }] of wanted) {
    if (!isGone()) continue
    wanted.delete(link)
    found(undefined)
  }
}

function processesNewestFirst(): number[] {
  const all = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return all.sort((one, other) => other - one)
}

function userOfProcess(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}`).uid
  } catch {
    return undefined
  }
}

export function programOf(pid: number): Program {
  // A program that was replaced on disk while it runs is still the same.
  const executable = readlinkOf(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '')
  const unit = unitOf(pid)
  return { ...(executable === undefined ? {} : { executable }), ...(unit === undefined ? {} : { unit }) }
}

function readlinkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

function unitOf(pid: number): string | undefined {
  try {
    return unitIn(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * The innermost service or scope in the text of /proc/<pid>/cgroup (cgroups(7)); a service may make groups of its own
 * below. The hierarchy is the unified one, or systemd's own beside those of version 1.
 */
export function unitIn(cgroup: string): string | undefined {
  for (const [, path = ''] of cgroup.matchAll(/^(?:0:|\d+:name=systemd):(.*)$/gm)) {
    const unit = path.split('/').findLast((name) => /\.(service|scope)$/.test(name))
    if (unit !== undefined) return unit
  }
  return undefined
}
