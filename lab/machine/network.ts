import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabCommandError } from '../errors.ts'
import type { LabProcesses } from './processes.ts'

/**
 * The network of one lab. Each host is a network namespace with one link to a bridge, which is in a namespace too.
 * Nothing is created in the machine's own network, so that addresses, names, routes and firewall rules there cannot
 * conflict with the lab's, in either direction.
 */

export const NAMESPACES_DIR = '/run/netns'
const NAME_PREFIX = 'shoal-'
const COMMAND_PATIENCE_MS = 10_000
/** Hosts of one lab: addresses are SUBNET.x.y with y from 1 to 250. */
export const HOSTS_MAX = 1000
const HOSTS_PER_BLOCK = 250
const SUBNET = '10.77'
const SUBNET_BITS = 16
/**
 * Linux's default, and that of the distributions that Docker runs on. This machine's may differ, and figures would
 * depend on it: BBR takes long to find the free share of a link whose other flows begin and end with every piece.
 */
const CONGESTION_CONTROL = 'cubic'
/** `tbf` with a small burst loses 5 % to overhead; 256 kB carries the rate (measured). */
const SHAPE = ['burst', '256kb', 'latency', '50ms']

/** One machine of the lab: its network, names and trust. */
export interface LabHost {
  readonly name: string
  readonly namespace: string
  readonly address: string
  /** /etc/docker as the host's programs see it. */
  readonly etcDocker: string
  /** /var/lib as they see it. */
  readonly varLib: string
  /** The host's own folder. */
  readonly dir: string
  /** The command line that runs `argv` on this host; the process is replaced by it. */
  command(argv: string[]): string[]
}

interface HostLink {
  host: LabHost
  /** The bridge's end of the link. */
  port: string
}

/** Bytes on a host's link since it was made, with all headers down to Ethernet's. */
export interface LinkTraffic {
  sentBytes: number
  receivedBytes: number
}

export interface LabNetworkOptions {
  runId: string
  dir: string
  processes: LabProcesses
}

export class LabNetwork {
  readonly #options: LabNetworkOptions
  readonly #switch: string
  readonly #links = new Map<string, HostLink>()
  readonly #hostsFile: string

  constructor(options: LabNetworkOptions) {
    this.#options = options
    this.#switch = namespaceName(options.runId, 'switch')
    this.#hostsFile = join(options.dir, 'hosts')
  }

  async open(): Promise<void> {
    this.#writeHosts()
    await this.#ip('netns', 'add', this.#switch)
    await this.#ip('-n', this.#switch, 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0')
    await this.#ip('-n', this.#switch, 'link', 'set', 'br0', 'up')
  }

  /**
   * Adds a host; every host then knows it by `name` and by `aliases`.
   * @throws LabCommandError
   */
  async addHost(name: string, aliases: string[] = []): Promise<LabHost> {
    const index = this.#links.size
    if (index >= HOSTS_MAX) throw new LabCommandError(`a lab has at most ${HOSTS_MAX} hosts`)
    const host = this.#makeHost(name, addressOf(index))
    const port = `port${index}`
    await this.#ip('netns', 'add', host.namespace)
    await this.#ip(
      ...['link', 'add', 'eth0', 'netns', host.namespace, 'type', 'veth'],
      ...['peer', 'name', port, 'netns', this.#switch],
    )
    await this.#ip('-n', host.namespace, 'address', 'add', `${host.address}/${SUBNET_BITS}`, 'dev', 'eth0')
    await this.#ip('-n', host.namespace, 'link', 'set', 'lo', 'up')
    await this.#ip('-n', host.namespace, 'link', 'set', 'eth0', 'up')
    await this.#ip(
      ...['-n', host.namespace, 'route', 'change', `${SUBNET}.0.0/${SUBNET_BITS}`, 'dev', 'eth0'],
      ...['proto', 'kernel', 'scope', 'link', 'src', host.address, 'congctl', CONGESTION_CONTROL],
    )
    await this.#ip('-n', this.#switch, 'link', 'set', port, 'master', 'br0', 'up')
    this.#links.set(name, { host, port })
    this.#writeHosts(`${host.address} ${[name, ...aliases].join(' ')}\n`)
    return host
  }

  /** Limits the host's link, separately each way. */
  async shape(host: LabHost, bitsPerSecond: number): Promise<void> {
    const limit = ['root', 'tbf', 'rate', `${Math.round(bitsPerSecond)}bit`, ...SHAPE]
    await this.#run('tc', '-n', host.namespace, 'qdisc', 'replace', 'dev', 'eth0', ...limit)
    await this.#run('tc', '-n', this.#switch, 'qdisc', 'replace', 'dev', this.#portOf(host), ...limit)
  }

  /** Removes the limit again. */
  async unshape(host: LabHost): Promise<void> {
    await this.#run('tc', '-n', host.namespace, 'qdisc', 'delete', 'dev', 'eth0', 'root')
    await this.#run('tc', '-n', this.#switch, 'qdisc', 'delete', 'dev', this.#portOf(host), 'root')
  }

  async traffic(host: LabHost): Promise<LinkTraffic> {
    const text = await this.#run('ip', '-n', host.namespace, '-json', '-stats', 'link', 'show', 'eth0')
    const [link] = JSON.parse(text) as [{ stats64: Record<'rx' | 'tx', { bytes: number }> }]
    return { sentBytes: link.stats64.tx.bytes, receivedBytes: link.stats64.rx.bytes }
  }

  /** Disconnects the host; `heal` connects it again. */
  async cut(host: LabHost): Promise<void> {
    await this.#ip('-n', this.#switch, 'link', 'set', this.#portOf(host), 'down')
  }

  async heal(host: LabHost): Promise<void> {
    await this.#ip('-n', this.#switch, 'link', 'set', this.#portOf(host), 'up')
  }

  /** Separates the hosts of both sides from each other; both still reach everybody else. */
  async separate(left: LabHost[], right: LabHost[]): Promise<void> {
    await this.#routeAcross('add', left, right)
  }

  /** Drops what comes to this port of the host, as a firewall does that nobody told about it. Needs iptables. */
  async dropPort(host: LabHost, port: number): Promise<void> {
    const rule = ['--append', 'INPUT', '--protocol', 'tcp', '--dport', String(port), '--jump', 'DROP']
    await this.#run(...host.command(['iptables', '--wait', ...rule]))
  }

  async reunite(left: LabHost[], right: LabHost[]): Promise<void> {
    await this.#routeAcross('delete', left, right)
  }

  /**
   * Packets for a foreign address that are routed into the loopback device are dropped silently, as by a dead switch.
   */
  async #routeAcross(verb: 'add' | 'delete', left: LabHost[], right: LabHost[]): Promise<void> {
    const pairs = left.flatMap((one) => right.map((other) => [one, other] as const))
    for (const [from, to] of pairs.flatMap(([one, other]) => [
      [one, other] as const,
      [other, one] as const,
    ])) {
      await this.#ip('-n', from.namespace, 'route', verb, `${to.address}/32`, 'dev', 'lo')
    }
  }

  #makeHost(name: string, address: string): LabHost {
    const namespace = namespaceName(this.#options.runId, name)
    const dir = join(this.#options.dir, name)
    const etcDocker = join(dir, 'etc-docker')
    const run = join(dir, 'run')
    const varLib = join(dir, 'var-lib')
    for (const folder of [etcDocker, run]) mkdirSync(folder, { recursive: true, mode: 0o700 })
    mkdirSync(varLib, { mode: 0o755 })
    const hosts = this.#hostsFile
    return {
      ...{ name, namespace, address, etcDocker, varLib, dir },
      command: (argv) => [
        ...['nsenter', `--net=${join(NAMESPACES_DIR, namespace)}`, '--'],
        ...['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', MOUNT_AND_RUN, 'sh'],
        ...[hosts, etcDocker, run, varLib, '--', ...argv],
      ],
    }
  }

  #portOf(host: LabHost): string {
    const link = this.#links.get(host.name)
    if (link === undefined) throw new LabCommandError(`${host.name} is not a host of this lab`)
    return link.port
  }

  /** In place: running hosts have the file itself mounted. */
  #writeHosts(line?: string): void {
    if (line === undefined) writeFileSync(this.#hostsFile, '127.0.0.1 localhost\n', { mode: 0o644 })
    else writeFileSync(this.#hostsFile, line, { flag: 'a' })
  }

  async #ip(...argv: string[]): Promise<void> {
    await this.#run('ip', ...argv)
  }

  #run(...argv: string[]): Promise<string> {
    return this.#options.processes.run({ argv, timeoutMs: COMMAND_PATIENCE_MS })
  }
}

/**
 * A mount namespace per process: the lab's names, the host's trust, and a separate /run and /var/lib (Docker's containerd
 * shims and podman keep sockets there under fixed names, and `shoal attach` what it did). It ends with its last process,
 * and the mounts with it.
 */
const MOUNT_AND_RUN =
  'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/docker && mount --bind "$3" /run && mount --bind "$4" /var/lib && shift 5 && exec "$@"'

function addressOf(index: number): string {
  return `${SUBNET}.${Math.floor(index / HOSTS_PER_BLOCK)}.${(index % HOSTS_PER_BLOCK) + 1}`
}

function namespaceName(runId: string, host: string): string {
  return `${NAME_PREFIX}${runId}-${host}`
}

/** The namespaces on this machine that belong to a lab, with its run id. */
export function labNamespaces(): { namespace: string; runId: string }[] {
  return namespaces().flatMap((namespace) => {
    const runId = /^shoal-([0-9a-f]{8})-/.exec(namespace)?.[1]
    return runId === undefined ? [] : [{ namespace, runId }]
  })
}

function namespaces(): string[] {
  try {
    return readdirSync(NAMESPACES_DIR)
  } catch {
    return [] // Nobody has made one since the machine started.
  }
}
