import { readFile } from 'node:fs/promises'
import { isIPv4, type Socket } from 'node:net'
import { endianness } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'
import { type Program, programOf, SocketHolders } from './socket-holders.ts'

/** The owner of the other end of a connection to one of our loopback ports; what is not known of the program is absent. */
export interface SocketOwner extends Program {
  /** 0 is root. */
  uid: number
}

/** A connection as the listener's end of it knows it. */
export type Connection = Pick<
  Socket,
  'remoteAddress' | 'remotePort' | 'localAddress' | 'localPort' | 'readyState'
>

/** Finds the owner of an open connection; the answer is kept as long as the connection. Never rejects. */
export interface SocketOwners {
  /** Only the user, which needs no rights; undefined if the kernel's tables do not tell (the other end is closed). */
  userOf(socket: Socket): Promise<number | undefined>
  /** @param mayAsk others, for a program that this process may not see; default true */
  ownerOf(socket: Socket, options?: { mayAsk?: boolean }): Promise<SocketOwner | undefined>
}

/** Pause between two readings of one table, which cost 5 ms or more; questions in the meantime share the next reading. */
const TABLE_REST_MS = 20

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
  readonly #ask: ((connection: Connection) => Promise<SocketOwner | undefined>) | undefined
  readonly #entries = new WeakMap<Connection, Promise<TableEntry | undefined>>()
  readonly #owners = new WeakMap<Connection, Promise<SocketOwner | undefined>>()
  readonly #holders = new SocketHolders()
  readonly #ipv4 = new KernelTable('/proc/net/tcp')
  readonly #ipv6 = new KernelTable('/proc/net/tcp6')

  /** @param ask who may see the programs of other users, if this process may not */
  constructor({ ask }: { ask?: (connection: Connection) => Promise<SocketOwner | undefined> } = {}) {
    this.#ask = ask
  }

  async userOf(socket: Connection): Promise<number | undefined> {
    return (await this.#entryOf(socket))?.uid
  }

  ownerOf(socket: Connection, { mayAsk = true } = {}): Promise<SocketOwner | undefined> {
    const known = this.#owners.get(socket)
    if (known !== undefined) return known
    const owner = this.#entryOf(socket).then((entry) =>
      entry === undefined ? undefined : this.#ownerOf(entry, socket, mayAsk),
    )
    this.#owners.set(socket, owner)
    return owner
  }

  #entryOf(socket: Connection): Promise<TableEntry | undefined> {
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
  }: Connection): Promise<TableEntry | undefined> {
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

  async #ownerOf({ uid, inode }: TableEntry, socket: Connection, mayAsk: boolean): Promise<SocketOwner> {
    const told = mayAsk && !maySee(uid) ? await this.#ask?.(socket) : undefined
    if (told?.uid === uid) return told
    const pid = await this.#holders.find(uid, `socket:[${inode}]`, () => socket.readyState !== 'open')
    return { uid, ...(pid === undefined ? {} : programOf(pid)) }
  }
}

/** Whether this process may look into those of a user (ptrace(2)), as far as users alone decide. */
function maySee(uid: number): boolean {
  const own = process.getuid?.()
  return own === 0 || own === uid
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
