import { LabPartError } from './errors.ts'
import type { FaultPart, Lab, LabNode } from './lab.ts'
import type { LabHost } from './machine/network.ts'
import type { LabProcess } from './machine/processes.ts'

interface Breakable {
  host: LabHost
  processes(): LabProcess[]
  start(): Promise<void>
}

/** Faults that a script can cause: disconnect a host, kill its programs, and repair either. */
export function makeFaults(
  parts: Pick<Lab, 'run' | 'registry' | 'registryHost' | 'tracker' | 'nodes'>,
): Pick<Lab, 'cut' | 'heal' | 'separate' | 'reunite' | 'kill' | 'revive'> {
  const part = (name: FaultPart): Breakable => {
    if (name === 'registry') return breakableRegistry(parts)
    const node = parts.nodes.find((candidate) => candidate.name === name)
    const service = name === 'tracker' ? parts.tracker : node && shoalOf(node)
    if (service === undefined) throw new LabPartError(`this lab has no part ${name}`)
    return {
      host: service.host,
      processes: () => [service.process],
      start: () => service.start(),
    }
  }
  const hosts = (names: FaultPart[]) => names.map((name) => part(name).host)
  const killed = new Map<FaultPart, LabProcess[]>()
  const { network } = parts.run
  return {
    cut: async (name) => network.cut(part(name).host),
    heal: async (name) => network.heal(part(name).host),
    separate: async (left, right) => network.separate(hosts(left), hosts(right)),
    reunite: async (left, right) => network.reunite(hosts(left), hosts(right)),
    kill(name) {
      const processes = part(name).processes()
      for (const process of processes) process.kill('SIGKILL')
      killed.set(name, processes)
    },
    async revive(name) {
      // Ports and files of a killed process are free only after it has ended.
      await Promise.all((killed.get(name) ?? []).map(({ ended }) => ended))
      await part(name).start()
    },
  }
}

function breakableRegistry({ registry, registryHost }: Pick<Lab, 'registry' | 'registryHost'>): Breakable {
  return { host: registryHost, processes: () => [...registry.parts], start: () => registry.start() }
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
