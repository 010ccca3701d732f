import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BlobProgress } from '../../client/index.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { LabPartError } from '../errors.ts'
import { authorityAt, progressAt } from '../local-api.ts'
import { freePort } from '../machine/free-port.ts'
import { type LabProcess, type LabProcesses, waitForPart } from '../machine/processes.ts'
import { type LoopbackRegistry, type RegistrySurroundings, startLoopbackRegistry } from './registry.ts'

/** Registry, tracker and nodes on loopback, each a program of its own, set up by the command line as operators do. */
export interface LoopbackCluster<Registry = LoopbackRegistry> {
  readonly registry: Registry
  readonly tracker: LabProcess
  /** Of the tracker. */
  readonly trackerDataDir: string
  /** A name that was used before gets its data folder again. */
  startNode(name: string, options?: LoopbackNodeOptions): Promise<LoopbackNode>
  /** Makes another cluster at the same tracker. @returns the file with its join token */
  addCluster(name: string): Promise<string>
}

export interface LoopbackNodeOptions {
  /** Of another version, if not the site's (`bin/shoal.js`). */
  program?: string
  /** Of another cluster than the first. */
  joinTokenFile?: string
  /** Settings that differ from the defaults. */
  settings?: object
}

/** What a cluster must know of its registry. */
export interface ClusterRegistry {
  /** As in image names. */
  readonly host: string
  /** PEM file of the authority that issued its certificate. */
  readonly caFile: string
  /** Absent: Shoal finds the keys itself. */
  readonly tokenKeys?: object
}

export interface LoopbackNode {
  readonly name: string
  readonly part: LabProcess
  readonly dataDir: string
  readonly proxyUrl: string
  /** PEM file of the authority whose certificates the proxy shows to clients. */
  readonly proxyCaFile: string
  progress(): Promise<BlobProgress[]>
}

export const OWN_PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const COMMAND_PATIENCE_MS = 30_000
/** Frequent, so that a node that has stopped is soon forgotten. */
export const HEARTBEAT_SECONDS = 1
/** Of a node's metrics, once the tracker has taken it in. */
const JOINED = 'shoal_node_joined 1'
const AUTHORITY_SECONDS = 7 * 24 * 3600

/** What all parts share. */
interface Site {
  /** Exists, and is removed by the caller. */
  dir: string
  processes: LabProcesses
  /** Path of the shoal.js that everything runs. */
  program: string
  /** Path of the shoal.js of the tracker, if it is of another version; commands are the site's. */
  trackerProgram?: string
}

export function startLoopbackCluster(site: Site): Promise<LoopbackCluster> {
  return startClusterAround(site, startLoopbackRegistry)
}

export async function startClusterAround<Registry extends ClusterRegistry>(
  site: Site,
  startRegistry: (surroundings: RegistrySurroundings) => Promise<Registry>,
): Promise<LoopbackCluster<Registry>> {
  const authority = await makeAuthority({ commonName: 'Shoal lab', validForSeconds: AUTHORITY_SECONDS })
  const tls = await issueLeaf(authority, {
    commonName: 'localhost',
    validForSeconds: AUTHORITY_SECONDS,
    names: [{ type: 'dns', value: 'localhost' }],
    usages: ['serverAuth'],
  })
  const dir = makeFolder(site, 'registry')
  const authorityPem = authority.certificatePem
  const registry = await startRegistry({ processes: site.processes, dir, tls, authorityPem })
  const { host, caFile, tokenKeys } = registry
  const registries = [{ host, caFile, ...tokenKeys }]
  const tracker = await startTracker(site, registries)
  return {
    registry,
    tracker: tracker.part,
    trackerDataDir: tracker.dataDir,
    startNode: (name, options = {}) => startNode(site, name, options, { ...tracker.join, registries }),
    addCluster: tracker.addCluster,
  }
}

async function startTracker(site: Site, registries: object[]) {
  const dir = makeFolder(site, 'tracker')
  const dataDir = join(dir, 'data')
  const [port, adminPort] = [await freePort(), await freePort()]
  const shoal = async (...argv: string[]) => {
    await site.processes.run({
      argv: [process.execPath, site.program, ...argv],
      timeoutMs: COMMAND_PATIENCE_MS,
    })
  }
  await shoal('certs', 'authority', '--out-dir', dir)
  const places = ['--authority-dir', dir, '--out-dir', dir]
  await shoal('certs', 'tracker-tls', '--name', 'localhost', ...places)
  await shoal('certs', 'unlock-key', '--out', join(dir, 'unlock.key'))
  const config = {
    listen: `127.0.0.1:${port}`,
    adminListen: `127.0.0.1:${adminPort}`,
    tlsCertFile: join(dir, 'tracker.crt'),
    tlsKeyFile: join(dir, 'tracker.key'),
    unlockKeyFile: join(dir, 'unlock.key'),
    dataDir,
    registries,
    heartbeatSeconds: HEARTBEAT_SECONDS,
  }
  const file = site.trackerProgram
  const part = startShoal(site, { name: 'tracker', program: 'tracker', dir, config, ...(file && { file }) })
  const addCluster = async (name: string) => {
    const joinTokenFile = join(dir, `join-token-${name}`)
    await shoal('admin', 'cluster', 'create', name, '--data-dir', dataDir, '--out', joinTokenFile)
    return joinTokenFile
  }
  // Until it listens on its socket the command fails, and changes nothing.
  const joinTokenFile = await waitForPart(part, () => addCluster('lab'))
  const trackerUrl = `https://localhost:${port}`
  const trackerCaFile = join(dir, 'authority.crt')
  return { part, dataDir, addCluster, join: { trackerUrl, trackerCaFile, joinTokenFile } }
}

async function startNode(
  site: Site,
  name: string,
  { program: file, joinTokenFile, settings }: LoopbackNodeOptions,
  shared: object,
): Promise<LoopbackNode> {
  const dir = makeFolder(site, name)
  const [proxyPort, adminPort] = [await freePort(), await freePort()]
  const config = {
    ...shared,
    ...(joinTokenFile && { joinTokenFile }),
    dataDir: join(dir, 'data'),
    proxyListen: `127.0.0.1:${proxyPort}`,
    adminListen: `127.0.0.1:${adminPort}`,
    peerListen: '127.0.0.1:0',
    dockerCertsDir: 'none',
    ...settings,
  }
  const part = startShoal(site, { name, file, program: 'node', dir, config })
  const socket = join(config.dataDir, 'shoal.sock')
  const ask = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`)
    if (!answer.ok) throw new LabPartError(`${name}: ${path} was answered with ${answer.status}`)
    return answer.text()
  }
  // Nodes of another version may have no such metric.
  const isReady = async () =>
    file === undefined ? (await ask('/metrics')).includes(JOINED) : ask('/healthz')
  await waitForPart(part, async () => (await isReady()) || undefined)
  // A node of another version may have no local API.
  const isOther = file !== undefined && !existsSync(socket)
  const ownAuthority = () => (isOther ? ask('/v1/ca') : authorityAt(socket))
  const progress = async () =>
    isOther ? (JSON.parse(await ask('/v1/progress')) as { blobs: BlobProgress[] }).blobs : progressAt(socket)
  return {
    ...{ name, part, dataDir: config.dataDir },
    proxyUrl: `http://127.0.0.1:${proxyPort}`,
    proxyCaFile: writeIn(dir, 'proxy-ca.pem', await ownAuthority()),
    progress,
  }
}

interface ShoalProgram {
  name: string
  /** This version's, if there is none. */
  file?: string | undefined
  program: 'node' | 'tracker'
  dir: string
  config: object
}

function startShoal(
  site: Site,
  { name, file = site.program, program, dir, config }: ShoalProgram,
): LabProcess {
  const configFile = writeIn(dir, 'config.json', JSON.stringify(config, null, 2))
  const argv = [process.execPath, file, program, '--config-file', configFile]
  return site.processes.start({ name, argv })
}

function makeFolder({ dir }: Site, name: string): string {
  const folder = join(dir, name)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return folder
}

function writeIn(dir: string, name: string, text: string): string {
  writeFileSync(join(dir, name), text, { mode: 0o600 })
  return join(dir, name)
}
