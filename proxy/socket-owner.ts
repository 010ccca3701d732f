import { opendirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { isIPv4, type Socket } from 'node:net'
import { endianness } from 'node:os'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { BoundedMap } from '../core/bounded-map.ts'

/** The owner of the other end of a connection to one of our loopback ports. */
export interface SocketOwner {
  /** 0 is root. */
  uid: number
  /** Absolute path of the program; absent if this process may not see it (that needs root, or the same user). */
  executable?: string
  /** The systemd service or scope that the program runs in, as `docker.service`. */
  unit?: string
}

/** Finds the owner of an open connection; the answer is kept as long as the connection. Never rejects. */
export interface SocketOwners {
  /** Only the user, which needs no rights; undefined if the kernel's tables do not tell (the other end is closed). */
  userOf(socket: Socket): Promise<number | undefined>
  ownerOf(socket: Socket): Promise<SocketOwner | undefined>
}

/** Pause between two readings of one table, which cost 5 ms or more; questions in the meantime share the next reading. */
const TABLE_REST_MS = 20
/** Searches for processes take at most one part in this many of our time, however many connections arrive. */
const SEARCH_TIME_PARTS = 5
/** Bound of the pause after a search, because somebody may wait for the next one. */
const SEARCH_REST_MS_MAX = 50
/** Bound of one user's processes that are searched, the newest first. */
export const OWNER_PROCESSES_MAX = 512
/** Bound of one process's descriptors that are searched: a dockerd has several per container. */
export const OWNER_DESCRIPTORS_MAX = 8192
/** System calls before other work gets its turn. Each takes about 3 microseconds. */
const SYSTEM_CALLS_PER_TURN = 64
/** Bound of processes known to make connections; they are searched first, as a daemon makes many. */
const KNOWN_PROCESSES_MAX = 32

interface TableEntry {
  uid: number
  inode: string
}

/** Entries by the text of their two addresses, as the table writes it. */
type Table = Map<string, TableEntry>

/**
 * Finds owners in the kernel's tables of connections (proc(5), /proc/net/tcp and tcp6), and programs by the descriptors of
 * processes. A connection's other end on loopback has an entry of its own, with its user and an inode. An entry without
 * an inode belongs to a closed end and always names root, so it counts as unknown.
 */
export class KernelSocketOwners implements SocketOwners {
  readonly #entries = new WeakMap<Socket, Promise<TableEntry | undefined>>()
  readonly #owners = new WeakMap<Socket, Promise<SocketOwner | undefined>>()
  readonly #holders = new SocketHolders()
  readonly #ipv4 = new KernelTable('/proc/net/tcp')
  readonly #ipv6 = new KernelTable('/proc/net/tcp6')

  async userOf(socket: Socket): Promise<number | undefined> {
    return (await this.#entryOf(socket))?.uid
  }

  ownerOf(socket: Socket): Promise<SocketOwner | undefined> {
    const known = this.#owners.get(socket)
    if (known !== undefined) return known
    const owner = this.#entryOf(socket).then((entry) =>
      entry === undefined ? undefined : this.#ownerOf(entry, socket),
    )
    this.#owners.set(socket, owner)
    return owner
  }

  #entryOf(socket: Socket): Promise<TableEntry | undefined> {
    const known = this.#entries.get(socket)
    if (known !== undefined) return known
    const entry = this.#lookUp(socket).catch(() => undefined)
    this.#entries.set(socket, entry)
    return entry
  }

  async #lookUp({
    remoteAddress,
    remotePort,
    localAddress,
    localPort,
  }: Socket): Promise<TableEntry | undefined> {
    if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined
    const client = endpointText(remoteAddress, remotePort)
    const own = endpointText(localAddress, localPort)
    // A program may speak IPv4 through a socket for IPv6, which is in the other table. A reading may also miss an entry
    // while others come and go.
    const places = client.includes(':', IPV4_DIGITS + 1)
      ? [[this.#ipv6, client, own] as const]
      : [[this.#ipv4, client, own] as const, [this.#ipv6, `${MAPPED}${client}`, `${MAPPED}${own}`] as const]
    for (const [table, from, to] of [...places, ...places]) {
      const entry = (await table.from(localPort)).get(`${from} ${to}`)
      if (entry !== undefined) return entry.inode === '0' ? undefined : entry
    }
    return undefined
  }

  async #ownerOf({ uid, inode }: TableEntry, socket: Socket): Promise<SocketOwner> {
    const pid = await this.#holders.find(uid, `socket:[${inode}]`, () => socket.readyState !== 'open')
    return { uid, ...(pid === undefined ? {} : programOf(pid)) }
  }
}

interface Wanted {
  found(pid: number | undefined): void
  /** The connection has ended: no process holds its other end any more. */
  isGone(): boolean
}

/** Finds the processes that hold sockets. Runs one search at a time, each for all wanted sockets of one user. */
class SocketHolders {
  readonly #wanted = new Map<number, Map<string, Wanted>>()
  readonly #known = new BoundedMap<number, true>(KNOWN_PROCESSES_MAX)
  #isSearching = false

  /** @param link the text of the link in /proc/<pid>/fd */
  find(uid: number, link: string, isGone: () => boolean): Promise<number | undefined> {
    const wanted = this.#wanted.get(uid) ?? new Map<string, Wanted>()
    this.#wanted.set(uid, wanted)
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    wanted.set(link, { found: resolve, isGone })
    if (!this.#isSearching) void this.#searchAll()
    return promise
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
    let seen = 0
    let searched = 0
    for (const pid of this.#processes()) {
      seen += 1
      if (seen % SYSTEM_CALLS_PER_TURN === 0) await turn()
      if (userOfProcess(pid) !== uid) continue
      searched += 1
      forgetGone(wanted)
      if (searched > OWNER_PROCESSES_MAX || wanted.size === 0) return
      await this.#searchIn(pid, wanted)
      if (wanted.size === 0) return
    }
  }

  /** Known ones first; the others are listed only when they are needed. */
  *#processes(): Iterable<number> {
    const known = [...this.#known.keys()].reverse()
    yield* known
    for (const pid of processesNewestFirst()) if (!known.includes(pid)) yield pid
  }

  async #searchIn(pid: number, wanted: Map<string, Wanted>): Promise<void> {
    try {
      using descriptors = opendirSync(`/proc/${pid}/fd`)
      for (let count = 1; count <= OWNER_DESCRIPTORS_MAX && wanted.size > 0; count++) {
        const entry = descriptors.readSync()
        if (entry === null) return
        this.#compare(pid, readlinkOf(`/proc/${pid}/fd/${entry.name}`) ?? '', wanted)
        if (count % SYSTEM_CALLS_PER_TURN === 0) await turn()
      }
    } catch {
      // The process has ended, or we may not see it.
    }
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

/** One of the kernel's tables; a reading serves all callers that ask before it begins. */
class KernelTable {
  readonly #path: string
  readonly #ports = new Set<number>()
  #next: Promise<Table> | undefined
  #reading: Promise<unknown> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
  }

  /** A reading from now on: the entries of connections to `port`, and to the ports asked for before. */
  from(port: number): Promise<Table> {
    this.#ports.add(port)
    this.#next ??= this.#read()
    return this.#next
  }

  async #read(): Promise<Table> {
    await this.#reading
    this.#next = undefined
    const reading = readTable(this.#path, this.#ports)
    this.#reading = reading.then(() => wait(TABLE_REST_MS))
    return reading
  }
}

/** The form in the tables: the address as 4-byte numbers in this machine's byte order, then the port. */
function endpointText(address: string, port: number): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
  const bytes = isIPv4(plain) ? Buffer.from(plain.split('.').map(Number)) : ipv6Bytes(plain)
  return `${words(bytes)}:${hexOf(port, 4)}`
}

function words(bytes: Buffer): string {
  const numbers = []
  for (let at = 0; at < bytes.length; at += 4) {
    numbers.push(endianness() === 'LE' ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at))
  }
  return numbers.map((number) => hexOf(number, 8)).join('')
}

function hexOf(number: number, digits: number): string {
  return number.toString(16).toUpperCase().padStart(digits, '0')
}

/** Digits of an IPv4 address in the tables. */
const IPV4_DIGITS = 8
/** The prefix ::ffff:0:0/96 before an IPv4 address. */
const MAPPED = words(Buffer.from([...Buffer.alloc(10), 0xff, 0xff]))

function ipv6Bytes(address: string): Buffer {
  const [left = '', right] = address.split('::')
  const groups = (text: string | undefined) =>
    text ? text.split(':').map((group) => Number.parseInt(group, 16)) : []
  const [head, tail] = [groups(left), groups(right)]
  const all = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
  const bytes = Buffer.alloc(16)
  for (const [index, group] of all.entries()) bytes.writeUInt16BE(group, index * 2)
  return bytes
}

/** @returns an empty table if there is none: no IPv6 in this kernel, or no Linux */
async function readTable(path: string, ports: Iterable<number>): Promise<Table> {
  const ours = [...ports].map((port) => hexOf(port, 4)).join('|')
  // sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
  const entry = new RegExp(
    String.raw`: ([0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:(?:${ours})) [0-9A-F]{2} \S+ \S+ \S+ +(\d+) +\d+ (\d+) `,
    'g',
  )
  const table: Table = new Map()
  const text = await readFile(path, 'latin1').catch(() => '')
  for (const [, name = '', uid, inode = ''] of text.matchAll(entry))
    table.set(name, { uid: Number(uid), inode })
  return table
}

function userOfProcess(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}`).uid
  } catch {
    return undefined
  }
}

function programOf(pid: number): Omit<SocketOwner, 'uid'> {
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
