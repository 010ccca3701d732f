import type { Lab, LabNode } from './cluster.ts'
import { LabPartError } from './errors.ts'
import type { LabHost } from './network.ts'

/** `registry`, `tracker`, or a node's name. */
export type FaultPart = string

interface Breakable {
  host: LabHost
  kill(): void
  start(): Promise<void>
}

/** What a script can do to a lab's parts: pull a host's plug, kill its programs, and put either right again. */
export function makeFaults(
  parts: Pick<Lab, 'run' | 'registry' | 'registryHost' | 'tracker' | 'nodes'>,
): Pick<Lab, 'cut' | 'heal' | 'kill' | 'revive'> {
  const part = (name: FaultPart): Breakable => {
    if (name === 'registry') return breakableRegistry(parts)
    const node = parts.nodes.find((candidate) => candidate.name === name)
    const service = name === 'tracker' ? parts.tracker : node && shoalOf(node)
    if (service === undefined) throw new LabPartError(`this lab has no part ${name}`)
    return {
      host: service.host,
      kill: () => service.process.kill('SIGKILL'),
      start: () => service.start(),
    }
  }
  const { network } = parts.run
  return {
    cut: async (name) => network.cut(part(name).host),
    heal: async (name) => network.heal(part(name).host),
    kill: (name) => part(name).kill(),
    revive: async (name) => part(name).start(),
  }
}

function breakableRegistry({ registry, registryHost }: Pick<Lab, 'registry' | 'registryHost'>): Breakable {
  return {
    host: registryHost,
    kill() {
      for (const process of registry.parts) process.kill('SIGKILL')
    },
    start: () => registry.start(),
  }
}

function shoalOf({ name, host, shoal }: LabNode) {
  if (shoal === undefined) throw new LabPartError(`${name} has no Shoal`)
  return {
    host,
    get process() {
      return shoal.process
    },
    start: () => shoal.start(),
  }
}
