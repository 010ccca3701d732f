import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BlobProgress } from '../../client/index.ts'
import { issueLeaf, makeAuthority } from '../../core/issue-certificate.ts'
import { LabPartError } from '../errors.ts'
import { freePort } from '../machine/free-port.ts'
import { type LabProcess, type LabProcesses, waitForPart } from '../machine/processes.ts'
import { type LoopbackRegistry, startLoopbackRegistry } from './registry.ts'

/** Registry, tracker and nodes on loopback, each a program of its own, set up by the command line as operators do. */
export interface LoopbackCluster {
  readonly registry: LoopbackRegistry
  readonly tracker: LabProcess
  /** Of the tracker. */
  readonly trackerDataDir: string
  /**
   * A name that was used before gets its data folder again.
   * @param program of another version, if not the site's (`bin/shoal.js`)
   */
  startNode(name: string, program?: string): Promise<LoopbackNode>
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

export async function startLoopbackCluster(site: Site): Promise<LoopbackCluster> {
  const authority = await makeAuthority({ commonName: 'Shoal lab', validForSeconds: AUTHORITY_SECONDS })
  const tls = await issueLeaf(authority, {
    commonName: 'localhost',
    validForSeconds: AUTHORITY_SECONDS,
    names: [{ type: 'dns', value: 'localhost' }],
    usages: ['serverAuth'],
  })
  const dir = makeFolder(site, 'registry')
  const authorityPem = authority.certificatePem
  const registry = await startLoopbackRegistry({ ...site, dir, tls, authorityPem })
  const { host, caFile, tokenKeys } = registry
  const registries = [{ host, caFile, ...tokenKeys }]
  const tracker = await startTracker(site, registries)
  return {
    registry,
    tracker: tracker.part,
    trackerDataDir: tracker.dataDir,
    startNode: (name, file) => startNode(site, { name, file }, { ...tracker.join, registries }),
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
  const part = startShoal(site, {
    name: 'tracker',
    file: site.trackerProgram,
    program: 'tracker',
    dir,
    config,
  })
  const joinTokenFile = join(dir, 'join-token')
  const create = ['admin', 'cluster', 'create', 'lab', '--data-dir', dataDir, '--out', joinTokenFile]
  // Until it listens on its socket the command fails, and changes nothing.
  await waitForPart(part, () => shoal(...create).then(() => true))
  const trackerUrl = `https://localhost:${port}`
  return { part, dataDir, join: { trackerUrl, trackerCaFile: join(dir, 'authority.crt'), joinTokenFile } }
}

async function startNode(
  site: Site,
  { name, file }: { name: string; file: string | undefined },
  shared: object,
): Promise<LoopbackNode> {
  const dir = makeFolder(site, name)
  const [proxyPort, adminPort] = [await freePort(), await freePort()]
  const config = {
    ...shared,
    dataDir: join(dir, 'data'),
    proxyListen: `127.0.0.1:${proxyPort}`,
    adminListen: `127.0.0.1:${adminPort}`,
    peerListen: '127.0.0.1:0',
    dockerCertsDir: 'none',
  }
  const part = startShoal(site, { name, file, program: 'node', dir, config })
  const ask = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`)
    if (!answer.ok) throw new LabPartError(`${name}: ${path} was answered with ${answer.status}`)
    return answer.text()
  }
  // Nodes of another version may have no such metric.
  const isReady = async () =>
    file === undefined ? (await ask('/metrics')).includes(JOINED) : ask('/healthz')
  await waitForPart(part, async () => (await isReady()) || undefined)
  return {
    ...{ name, part, dataDir: config.dataDir },
    proxyUrl: `http://127.0.0.1:${proxyPort}`,
    proxyCaFile: writeIn(dir, 'proxy-ca.pem', await ask('/v1/ca')),
    progress: async () => (JSON.parse(await ask('/v1/progress')) as { blobs: BlobProgress[] }).blobs,
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
