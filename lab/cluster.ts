import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type KeyedCertificate, makeAuthority } from '../core/issue-certificate.ts'
import { makeFaults } from './faults.ts'
import type { Lab, LabNode } from './lab.ts'
import { labCgroup } from './machine/leftovers.ts'
import type { LabHost } from './machine/network.ts'
import { LAB_BASE, type LabRequirement } from './machine/requirements.ts'
import { buildRun, type LabRun } from './machine/run.ts'
import { publishImage } from './publish.ts'
import { startDocker } from './pullers/docker.ts'
import { makePodman } from './pullers/podman.ts'
import type { Puller, PullerKind } from './pullers/puller.ts'
import { makeSkopeo } from './pullers/skopeo.ts'
import {
  type LabRegistry,
  REGISTRY_ALIASES,
  REGISTRY_HOST,
  type RegistryAuthentication,
  STORAGE_HOST,
  startRegistry,
} from './registry/registry.ts'
import {
  type ConfigOverrides,
  type LabTracker,
  labRegistryConfig,
  NODE_PROXY_URL,
  startShoalNode,
  startTracker,
  TRACKER_HOST,
} from './shoal.ts'

/** A whole cluster shares this machine's processors: a tracker that works is waited for longer than by default. */
const TRACKER_PATIENCE_MS = 5_000

/** A whole cluster of real parts on this machine: registry, token server, tracker, nodes, and a puller on each. */

/**
 * Nodes started at the same time. Each start takes a second of a core, and the node must answer before its timeout.
 */
const NODES_STARTED_AT_ONCE = 4
const AUTHORITY_SECONDS = 7 * 24 * 3600
/** Long enough for a demonstration; tests of expiry set less. */
const TOKEN_SECONDS = 300

export interface NodePlan {
  name: string
  puller: PullerKind
  /** A guard owns the socket that the puller uses. */
  isGuarded?: boolean
  /** How far the clock of its Shoal is ahead of everybody else's; behind, if negative. */
  clockOffsetSeconds?: number
}

export interface LabOptions {
  nodes: NodePlan[]
  /** Data of each layer in bytes. */
  layerDataBytes: number[]
  /** False: pullers go straight to the registry, and neither tracker nor nodes are started. */
  hasShoal?: boolean
  authentication?: RegistryAuthentication
  tokenSeconds?: number
  /** Puts a front before the registry, which can imitate other registries. */
  hasRegistryFront?: boolean
  /** The front also answers for the token server. */
  hasTokensAtRegistry?: boolean
  nodeConfig?: ConfigOverrides
  trackerConfig?: ConfigOverrides
  /** Limits of the links, separately each way; none by default. */
  links?: { nodeBitsPerSecond: number; registryBitsPerSecond: number }
  /** Called for each step, with a description. */
  onStep?: (step: string) => void
  /** Called as soon as there is something to close. */
  onRun?: (run: LabRun) => void
}

const PULLER_PARTS: Record<PullerKind, LabRequirement[]> = {
  docker: ['dockerd', 'docker'],
  skopeo: ['skopeo'],
  podman: ['podman'],
}

/** The requirements of a lab with these pullers. */
export function requirementsFor(pullers: PullerKind[]): LabRequirement[] {
  return [...LAB_BASE, ...pullers.flatMap((kind) => PULLER_PARTS[kind])]
}

/** @throws LabCommandError, LabPartError when a part cannot be started; the started parts are closed by then */
export function startLab(options: LabOptions): Promise<Lab> {
  return buildRun((run) => assemble(options, run), options.onRun)
}

async function assemble(options: LabOptions, run: LabRun): Promise<Lab> {
  const step = options.onStep ?? (() => {})
  step('network, registry and token server')
  const site = await openSite(options, run)
  step('image')
  const publish: Lab['publish'] = (tag, layerDataBytes, compression) =>
    publishImage({ run, ...site, tag, layerDataBytes, ...(compression && { compression }) })
  const image = await publish('v1', options.layerDataBytes)
  const hasShoal = options.hasShoal ?? true
  if (hasShoal) step('tracker')
  const tracker = hasShoal ? await openTracker(options, run, site) : undefined
  step(hasShoal ? 'nodes and their pulling clients' : 'pulling clients')
  const nodes = await openNodes({ options, run, site, tracker })
  await shapeLinks(options, run, site)
  const { registry, registryHost } = site
  const addForeigner: Lab['addForeigner'] = (name) => openForeigner({ options, run, site, tracker }, name)
  return makeLab({ run, image, registry, registryHost, tracker, nodes, publish, addForeigner })
}

async function openForeigner({ options, run, site, tracker }: NodeSurroundings, name: string) {
  if (tracker === undefined) throw new RangeError('this lab has no tracker')
  const host = await run.network.addHost(name)
  trustRegistry(host, site.authority)
  const join = { ...tracker.join, joinTokenFile: await tracker.addCluster(name) }
  const shoal = await startShoalNode({
    ...{ host, processes: run.processes, tracker: { join } },
    registryConfig: labRegistryConfig(site.caFile, site.registry.kind),
    overrides: nodeOverrides(options),
  })
  return { name, host, shoal }
}

const nodeOverrides = ({ nodeConfig }: LabOptions) => ({
  trackerPatienceMs: TRACKER_PATIENCE_MS,
  ...nodeConfig,
})

async function openNodes(surroundings: NodeSurroundings): Promise<LabNode[]> {
  const { options, site } = surroundings
  const nodes: LabNode[] = []
  while (nodes.length < options.nodes.length) {
    const plans = options.nodes.slice(nodes.length, nodes.length + NODES_STARTED_AT_ONCE)
    const open = (plan: NodePlan, index: number) => openNode(surroundings, plan, site.hosts[index]!)
    const first = nodes.length
    nodes.push(...(await Promise.all(plans.map((plan, index) => open(plan, first + index)))))
  }
  return nodes
}

async function shapeLinks({ links }: LabOptions, { network }: LabRun, site: Site): Promise<void> {
  if (links === undefined) return
  await network.shape(site.registryHost, links.registryBitsPerSecond)
  for (const host of site.hosts) await network.shape(host, links.nodeBitsPerSecond)
}

/** The parts that exist before any of Shoal's. */
interface Site {
  registry: LabRegistry
  registryHost: LabHost
  /** One for each planned node. */
  hosts: LabHost[]
  /** Signed the registry's certificate. */
  authority: KeyedCertificate
  /** Its certificate. */
  caFile: string
}

async function openSite(options: LabOptions, run: LabRun): Promise<Site> {
  const authority = await makeAuthority({ commonName: 'Shoal lab', validForSeconds: AUTHORITY_SECONDS })
  const caFile = join(run.dir, 'registry-ca.pem')
  writeFileSync(caFile, authority.certificatePem)
  const registryHost = await run.network.addHost('registry', REGISTRY_ALIASES)
  const hasTokensAtRegistry = options.hasTokensAtRegistry ?? false
  const hasFront = options.hasRegistryFront ?? hasTokensAtRegistry
  const storageHost = hasFront ? await run.network.addHost('storage', [STORAGE_HOST]) : undefined
  const hosts: LabHost[] = []
  for (const { name } of options.nodes) hosts.push(await run.network.addHost(name))
  for (const host of [registryHost, ...hosts]) trustRegistry(host, authority)
  const registry = await startRegistry({
    host: registryHost,
    processes: run.processes,
    authority,
    repository: 'team/app',
    authentication: options.authentication ?? 'ES256',
    tokenSeconds: options.tokenSeconds ?? TOKEN_SECONDS,
    hasTokensAtRegistry,
    storageHost,
  })
  return { registry, registryHost, hosts, authority, caFile }
}

/** As an administrator would: Docker, and the lab's skopeo and podman, read every `*.crt` there. */
export function trustRegistry(host: LabHost, authority: KeyedCertificate): void {
  const dir = join(host.etcDocker, 'certs.d', REGISTRY_HOST)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'lab.crt'), authority.certificatePem)
}

async function openTracker(options: LabOptions, run: LabRun, site: Site): Promise<LabTracker> {
  return startTracker({
    host: await run.network.addHost('tracker', [TRACKER_HOST]),
    processes: run.processes,
    registryConfig: labRegistryConfig(site.caFile, site.registry.kind),
    overrides: options.trackerConfig ?? {},
  })
}

interface NodeSurroundings {
  options: LabOptions
  run: LabRun
  site: Site
  tracker: LabTracker | undefined
}

async function openNode(
  { options, run, site, tracker }: NodeSurroundings,
  plan: NodePlan,
  host: LabHost,
): Promise<LabNode> {
  const { processes } = run
  const registryConfig = labRegistryConfig(site.caFile, site.registry.kind)
  const program = {
    host,
    processes,
    registryConfig,
    overrides: nodeOverrides(options),
    isGuarded: plan.isGuarded ?? false,
    clockOffsetSeconds: plan.clockOffsetSeconds ?? 0,
  }
  const shoal = tracker && (await startShoalNode({ ...program, tracker }))
  const puller = await startPuller(plan.puller, {
    host,
    processes,
    registryHost: site.registry.host,
    account: site.registry.isOpen ? undefined : site.registry.puller,
    proxyUrl: tracker && NODE_PROXY_URL,
    cgroupParent: labCgroup(run.id),
  })
  return { name: plan.name, host, puller, shoal }
}

async function startPuller(kind: PullerKind, options: Parameters<typeof startDocker>[0]): Promise<Puller> {
  if (kind === 'docker') return startDocker(options)
  return kind === 'skopeo' ? makeSkopeo(options) : makePodman(options)
}

type LabParts = Pick<
  Lab,
  'run' | 'image' | 'registry' | 'registryHost' | 'tracker' | 'nodes' | 'publish' | 'addForeigner'
>

function makeLab(parts: LabParts): Lab {
  const { run, image, registry, nodes } = parts
  const layers = new Set<string>(image.layers.map(({ digest }) => digest))
  const node = (name: string) => {
    const found = nodes.find((candidate) => candidate.name === name)
    if (found === undefined) throw new RangeError(`this lab has no node ${name}`)
    return found
  }
  return {
    ...parts,
    ...makeFaults(parts),
    node,
    async pull(name) {
      const { puller } = node(name)
      const startedMs = performance.now()
      await puller.pull(image)
      return (performance.now() - startedMs) / 1000
    },
    async progress(name) {
      const blobs = (await node(name).shoal?.progress()) ?? []
      return blobs.filter(({ digest }) => layers.has(digest))
    },
    registryEgress() {
      const egress = registry.egress()
      return new Map(
        image.layers.map(({ digest }) => [digest, egress.get(digest) ?? { bytes: 0, requests: 0 }]),
      )
    },
    close: () => run.close(),
  }
}
