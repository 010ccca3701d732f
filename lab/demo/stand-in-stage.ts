import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LoopbackNode, OWN_PROGRAM, startClusterAround } from '../loopback/cluster.ts'
import { peakRssBytesOf } from '../machine/peak-memory.ts'
import { LabProcesses } from '../machine/processes.ts'
import { closeOnSignals } from '../machine/run.ts'
import { askForBlob, makeStandInClient, placeOf } from '../stand-ins/client.ts'
import { startStandInRegistry } from '../stand-ins/registry.ts'
import type { PartReport } from './report.ts'
import { type DemoStage, timed } from './stage.ts'

/** The stage on loopback, without root and without any program but Node. */

const NODES = ['node1', 'node2', 'node3']
const OUTSIDER = 'node4'
/** Everything shares this machine's processors: a tracker that works is waited for longer than by default. */
const SETTINGS = { trackerPatienceMs: 5_000 }

export interface StandInOptions {
  layerDataBytes: number[]
  say: (line: string) => void
}

export async function openStandInStage({ layerDataBytes, say }: StandInOptions): Promise<DemoStage> {
  const dir = mkdtempSync(join(tmpdir(), 'shoal-demo-'))
  const logDir = join(dir, 'log')
  mkdirSync(logDir)
  const processes = new LabProcesses(logDir)
  const remove = () => rmSync(dir, { recursive: true, force: true })
  const close = async () => {
    await processes.close()
    remove()
  }
  process.once('exit', () => {
    processes.killAll()
    remove()
  })
  closeOnSignals({ close }, say)
  try {
    return await assemble({ dir, processes, close }, { layerDataBytes, say })
  } catch (error) {
    await close()
    throw error
  }
}

interface Frame {
  dir: string
  processes: LabProcesses
  close(): Promise<void>
}

async function assemble(
  { dir, processes, close }: Frame,
  { layerDataBytes, say }: StandInOptions,
): Promise<DemoStage> {
  say('starting: registry, token server and tracker')
  const cluster = await startClusterAround({ dir, processes, program: OWN_PROGRAM }, startStandInRegistry)
  const { registry } = cluster
  say('starting: image')
  const image = await registry.publish('v1', layerDataBytes)
  say('starting: nodes and their pulling clients')
  const started = await Promise.all(NODES.map((name) => cluster.startNode(name, { settings: SETTINGS })))
  const clientOf = ({ name, proxyUrl, proxyCaFile }: LoopbackNode, account = registry.puller) => ({
    ...{ processes, account, proxyUrl, registry: registry.host, dir: join(dir, name) },
    // The token server's certificate is the site's; the registry's is the node's own.
    caFiles: [registry.caFile, proxyCaFile],
  })
  const direct = ({ proxyUrl: _, ...client }: ReturnType<typeof clientOf>) => {
    const own = join(client.dir, 'direct')
    mkdirSync(own)
    return makeStandInClient({ ...client, dir: own })
  }
  const nodes = started.map((node) => ({
    name: node.name,
    client: 'stand-in',
    puller: makeStandInClient(clientOf(node)),
    pullDirectly: () => timed(direct(clientOf(node)), image),
    peakRssBytes: () => peakRssBytesOf(node.part.pid),
  }))
  const nodeNamed = (name: string) => started.find((node) => node.name === name)!
  const layers = new Set<string>(image.layers.map(({ digest }) => digest))
  const ask = (
    node: LoopbackNode,
    blob: (typeof image.layers)[number]['digest'],
    account = registry.puller,
  ) => askForBlob({ processes }, { ...clientOf(node, account), ...placeOf(image), layout: dir, blob })
  return {
    ...{ image, nodes, close, parts: PARTS },
    pull: (name) => timed(nodes.find((node) => node.name === name)!.puller, image),
    progress: async (name) => (await nodeNamed(name).progress()).filter(({ digest }) => layers.has(digest)),
    registryEgress: () => registry.egress(),
    deaths: () => processes.deaths.map(({ message }) => message),
    askAsStranger: (name, blob) => ask(nodeNamed(name), blob, registry.stranger),
    async openOutsider() {
      const joinTokenFile = await cluster.addCluster('other')
      const node = await cluster.startNode(OUTSIDER, { joinTokenFile, settings: SETTINGS })
      return { name: OUTSIDER, ask: (blob) => ask(node, blob), progress: () => node.progress() }
    },
    places: [
      `files and logs:  ${dir}`,
      ...started.map(({ name, proxyUrl }) => `proxy of ${name}:  ${proxyUrl}`),
    ],
  }
}

const CLIENT = 'stand-in: pulls as Docker does'
const PARTS: PartReport[] = [
  { part: 'registry', was: 'stand-in: OCI registry over HTTPS', isStandIn: true, wouldBe: 'docker-registry' },
  { part: 'token server', was: 'signed tokens (JWT, ES256)', isStandIn: false, wouldBe: 'the same' },
  { part: 'tracker and nodes', was: 'Shoal itself', isStandIn: false, wouldBe: 'the same' },
  { part: 'client of node1', was: CLIENT, isStandIn: true, wouldBe: 'dockerd' },
  { part: 'client of node2', was: CLIENT, isStandIn: true, wouldBe: 'skopeo' },
  { part: 'client of node3', was: CLIENT, isStandIn: true, wouldBe: 'podman' },
  { part: 'network', was: 'loopback', isStandIn: true, wouldBe: 'a namespace for each' },
]
