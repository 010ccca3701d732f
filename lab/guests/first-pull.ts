import type { ImageReference } from '../pullers/puller.ts'
import { TRACKER_HOST } from '../shoal.ts'
import { DEB, type Machine, type Site } from './site.ts'

/** What a person types until a first pull is shared, and how much of it came from the other machine. */

const INSTALL = `apt-get install --yes ${DEB}`

/** Data of each layer in bytes. */
const LAYERS = [20_000_000, 30_000_000]

export interface FirstPull {
  /** The most that was typed on one. */
  commandsPerMachine: number
  commandsTracker: number
  /** From the first command to the end of the last pull; the machines are set up side by side. */
  seconds: number
  /** Of the last pull. */
  peerShare: number
}

/** From nothing to a pull that is shared: all machines are set up, one pulls, then each other one. */
export async function firstPull(site: Site, say: (line: string) => void = () => {}): Promise<FirstPull> {
  const image = await site.publish('first', LAYERS)
  const typist = new Typist()
  const startedMs = performance.now()
  say('tracker')
  const joinString = await setUpTracker(site, typist)
  say('machines')
  await Promise.all(site.machines.map((machine) => setUpNode(site, machine, { typist, joinString })))
  say('pulls')
  let last: PullBytes | undefined
  for (const machine of site.machines) last = await pull(machine, image)
  return {
    commandsPerMachine: Math.max(...site.machines.map((machine) => typist.count(machine))),
    commandsTracker: typist.count(site.tracker),
    seconds: (performance.now() - startedMs) / 1000,
    peerShare: peerShareOf(last!),
  }
}

/** Counts what a person types on each machine. */
class Typist {
  readonly #counts = new Map<string, number>()

  /** One command. @returns what it printed */
  type(machine: Machine, command: string): Promise<string> {
    this.#counts.set(machine.name, this.count(machine) + 1)
    return machine.guest.run(command)
  }

  count({ name }: Machine): number {
    return this.#counts.get(name) ?? 0
  }
}

/** @returns the join string that was printed */
async function setUpTracker({ tracker, registry }: Site, typist: Typist): Promise<string> {
  await typist.type(tracker, INSTALL)
  const init = `shoal tracker init --name ${TRACKER_HOST} --registries ${registry.host}`
  const printed = await typist.type(tracker, init)
  const joinString = /SHOALJOIN-\S+/.exec(printed)?.[0]
  if (joinString === undefined) throw new Error(`no join string in: ${printed}`)
  return joinString
}

/** Installed, joined, and Docker attached and restarted. */
async function setUpNode(
  { registry }: Site,
  machine: Machine,
  { typist, joinString }: { typist: Typist; joinString: string },
): Promise<void> {
  await typist.type(machine, INSTALL)
  const attach = `--attach docker --registry ${registry.host} --restart --yes`
  await typist.type(machine, `shoal join ${joinString} ${attach}`)
}

export interface PullBytes {
  peers: number
  registry: number
  cache: number
  passedThrough: number
}

/** Pulls with Docker, and checks that the image is the one that was pushed. @returns bytes by source, by the node's account */
export async function pull({ guest }: Machine, image: ImageReference): Promise<PullBytes> {
  const bytes = await sentWhile({ guest }, () => guest.run(`docker pull --quiet ${image.name}`))
  await verify({ guest }, image)
  return bytes
}

/** @returns bytes by source, by the node's account */
export async function sentWhile(
  { guest }: Pick<Machine, 'guest'>,
  work: () => Promise<unknown>,
): Promise<PullBytes> {
  const before = await sentBytes(guest)
  await work()
  const after = await sentBytes(guest)
  const since = (source: keyof PullBytes) => after[source] - before[source]
  return {
    peers: since('peers'),
    registry: since('registry'),
    cache: since('cache'),
    passedThrough: since('passedThrough'),
  }
}

/** Docker has checked every layer against the config, and the config has this digest. */
export async function verify({ guest }: Pick<Machine, 'guest'>, image: ImageReference): Promise<void> {
  const [found] = JSON.parse(await guest.run(`docker image inspect ${image.name}`)) as { Id: string }[]
  if (found?.Id !== image.configDigest) throw new Error(`${image.name} is ${found?.Id}`)
}

export function peerShareOf({ peers, registry, cache, passedThrough }: PullBytes): number {
  return peers / (peers + registry + cache + passedThrough)
}

/** Zeros while no node answers. */
async function sentBytes(guest: Machine['guest']): Promise<PullBytes> {
  const text = await guest.run('curl -s http://127.0.0.1:7072/metrics || true')
  const of = (source: keyof PullBytes) =>
    Number(
      new RegExp(`^shoal_node_pull_bytes_total\\{source="${source}"\\} (\\S+)$`, 'm').exec(text)?.[1] ?? 0,
    )
  return {
    peers: of('peers'),
    registry: of('registry'),
    cache: of('cache'),
    passedThrough: of('passedThrough'),
  }
}
