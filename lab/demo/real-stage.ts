import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type NodePlan, requirementsFor, startLab } from '../cluster.ts'
import type { Lab } from '../lab.ts'
import { labCgroup } from '../machine/leftovers.ts'
import type { LabHost } from '../machine/network.ts'
import { NAMESPACES_DIR } from '../machine/network.ts'
import { versionedPackages } from '../machine/requirements.ts'
import { closeOnSignals } from '../machine/run.ts'
import { startDocker } from '../pullers/docker.ts'
import { makePodman } from '../pullers/podman.ts'
import type { Puller } from '../pullers/puller.ts'
import { makeSkopeo } from '../pullers/skopeo.ts'
import { NODE_PROXY_URL } from '../shoal.ts'
import { askForBlob, placeOf } from '../stand-ins/client.ts'
import type { PartReport } from './report.ts'
import { type DemoStage, timed } from './stage.ts'

/** The stage of real parts: Debian's registry and runtimes, each in a network namespace of its own. Needs root. */

/** The first node pulls alone, the others at once. */
const NODES: NodePlan[] = [
  { name: 'node1', puller: 'docker' },
  { name: 'node2', puller: 'skopeo' },
  { name: 'node3', puller: 'podman' },
]
const OUTSIDER = 'node4'
export const REAL_PARTS = requirementsFor(NODES.map(({ puller }) => puller))

export interface RealOptions {
  layerDataBytes: number[]
  say: (line: string) => void
}

/** From here on a signal closes it. */
export async function openRealStage({ layerDataBytes, say }: RealOptions): Promise<DemoStage> {
  const lab = await startLab({
    nodes: NODES,
    layerDataBytes,
    onStep: (step) => say(`starting: ${step}`),
    onRun: (run) => closeOnSignals(run, say),
  })
  const { image, registry, run } = lab
  const ask = (
    host: LabHost,
    account: typeof registry.puller,
    blob: (typeof image.layers)[number]['digest'],
  ) => {
    const trusted = join(host.etcDocker, 'certs.d', registry.host)
    const caFiles = readdirSync(trusted).map((name) => join(trusted, name))
    const place = { processes: run.processes, command: (argv: string[]) => host.command(argv) }
    return askForBlob(place, {
      ...placeOf(image),
      ...{ account, caFiles, proxyUrl: NODE_PROXY_URL, layout: host.dir, blob },
    })
  }
  return {
    image,
    parts: partsOf(),
    nodes: lab.nodes.map(({ name, host, puller, shoal }) => ({
      ...{ name, puller },
      pullDirectly: async () => timed(await directPuller(lab, host, puller.kind), image),
      client: puller.kind === 'docker' ? 'dockerd' : puller.kind,
      peakRssBytes: () => shoal?.peakRssBytes() ?? 0,
    })),
    pull: (name) => lab.pull(name),
    progress: (name) => lab.progress(name),
    registryEgress: () => lab.registryEgress(),
    deaths: () => run.processes.deaths.map(({ message }) => message),
    askAsStranger: (name, blob) => ask(lab.node(name).host, registry.stranger, blob),
    async openOutsider() {
      const { name, host, shoal } = await lab.addForeigner(OUTSIDER)
      return { name, ask: (blob) => ask(host, registry.puller, blob), progress: () => shoal.progress() }
    },
    places: [
      `files and logs:  ${run.dir}`,
      ...lab.nodes.map(
        ({ name, host }) => `a shell on ${name}: nsenter --net=${NAMESPACES_DIR}/${host.namespace}`,
      ),
    ],
    close: () => lab.close(),
  }
}

/** A client of the same kind on the same host, with a store of its own and no proxy. */
async function directPuller({ run, registry }: Lab, host: LabHost, kind: Puller['kind']): Promise<Puller> {
  const options = {
    ...{ host, processes: run.processes, registryHost: registry.host, account: registry.puller },
    ...{ proxyUrl: undefined, cgroupParent: labCgroup(run.id), folder: 'direct' },
  }
  if (kind === 'docker') return startDocker(options)
  return kind === 'skopeo' ? makeSkopeo(options) : makePodman(options)
}

/** With the versions of Debian's packages, where there are such. */
function partsOf(): PartReport[] {
  const named = versionedPackages(['docker-registry', 'dockerd', 'skopeo', 'podman'])
  const real = (part: string, was: string) => ({ part, was, isStandIn: false })
  return [
    real('registry', named['docker-registry']!),
    real('token server', 'signed tokens (JWT, ES256), of this repository'),
    real('tracker and nodes', 'Shoal itself'),
    ...NODES.map(({ name, puller }) =>
      real(`client of ${name}`, named[puller === 'docker' ? 'dockerd' : puller]!),
    ),
    real('network', 'a network namespace for each'),
  ]
}
