import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { trustRegistry } from '../cluster.ts'
import type { LabHost } from '../machine/network.ts'
import { LAB_BASE, type LabRequirement } from '../machine/requirements.ts'
import { buildRun, type LabRun } from '../machine/run.ts'
import { publishImage } from '../publish.ts'
import { authFile, type ImageReference } from '../pullers/puller.ts'
import { type LabRegistry, REGISTRY_ALIASES, startRegistry } from '../registry/registry.ts'
import { TRACKER_HOST } from '../shoal.ts'
import { boot, type Guest } from './guest.ts'
import { keptTree, makeTree } from './guest-tree.ts'
import { shoalPackage } from './shoal-package.ts'

/** A registry, and whole machines that know nothing of Shoal: one for a tracker, others with Docker. */

export const SITE_PARTS: readonly LabRequirement[] = [
  ...LAB_BASE,
  ...(['systemd-nspawn', 'debootstrap'] as const),
]
const AUTHORITY_SECONDS = 7 * 24 * 3600
/** Longer than a story. */
const TOKEN_SECONDS = 300
/** Where each machine has Shoal's package. */
export const DEB = '/var/tmp/shoal.deb'

export interface Machine {
  readonly name: string
  readonly root: string
  readonly host: LabHost
  /** While it is on. */
  guest: Guest
}

export interface Site {
  readonly run: LabRun
  readonly registry: LabRegistry
  readonly tracker: Machine
  readonly machines: Machine[]
  /** The package of this checkout. */
  readonly deb: string
  publish(tag: string, layerDataBytes: number[]): Promise<ImageReference>
  /** Limits what the registry sends. */
  shapeRegistry(bitsPerSecond: number): Promise<void>
  start(machine: Machine): Promise<void>
  close(): Promise<void>
}

/**
 * @param names of the machines besides the tracker's
 * @param onRun called as soon as there is something to close
 */
export async function openSite(names: string[], onRun?: (run: LabRun) => void): Promise<Site> {
  const [deb] = await Promise.all([shoalPackage(), keptTree()])
  return buildRun((run) => assemble(run, names, deb), onRun)
}

async function assemble(run: LabRun, names: string[], deb: string): Promise<Site> {
  const authority = await makeAuthority({ commonName: 'Shoal lab', validForSeconds: AUTHORITY_SECONDS })
  const registryHost = await run.network.addHost('registry', REGISTRY_ALIASES)
  trustRegistry(registryHost, authority)
  const hosts = [await run.network.addHost('tracker', [TRACKER_HOST])]
  for (const name of names) hosts.push(await run.network.addHost(name))
  const registry = await startRegistry({
    ...{ host: registryHost, processes: run.processes, authority },
    ...{ repository: 'team/app', authentication: 'ES256', tokenSeconds: TOKEN_SECONDS },
    storageHost: undefined,
  })
  const start = async (machine: Machine) => {
    const networkNamespace = `/run/netns/${machine.host.namespace}`
    machine.guest = await boot({ ...machine, processes: run.processes, networkNamespace })
  }
  const machines: Machine[] = []
  for (const host of hosts) {
    const root = join(run.dir, host.name, 'root')
    await makeTree(root)
    prepare(root, { run, registry, authorityPem: authority.certificatePem, deb, name: host.name })
    machines.push({ name: host.name, root, host, guest: undefined as unknown as Guest })
  }
  // Once without Shoal: what a machine makes at its first start is no trace of it.
  await Promise.all(machines.map(start))
  const [tracker, ...others] = machines as [Machine, ...Machine[]]
  return {
    ...{ run, registry, tracker, machines: others, deb, start },
    publish: (tag, layerDataBytes) => publishImage({ run, registry, registryHost, tag, layerDataBytes }),
    shapeRegistry: (bitsPerSecond) => run.network.shape(registryHost, bitsPerSecond),
    async close() {
      await Promise.all(machines.map(({ guest }) => guest.powerOff()))
      await run.close()
    },
  }
}

interface Surroundings {
  run: LabRun
  registry: LabRegistry
  authorityPem: string
  deb: string
  name: string
}

/** As an administrator's image has it: names, trust in the company's registry, its login, and the package to install. */
function prepare(root: string, { run, registry, authorityPem, deb, name }: Surroundings): void {
  copyFileSync(join(run.dir, 'hosts'), join(root, 'etc/hosts'))
  writeFileSync(join(root, 'etc/hostname'), `${name}\n`)
  const certs = join(root, 'etc/docker/certs.d', registry.host)
  mkdirSync(certs, { recursive: true })
  writeFileSync(join(certs, 'lab.crt'), authorityPem)
  const local = join(root, 'usr/local/share/ca-certificates')
  mkdirSync(local, { recursive: true })
  writeFileSync(join(local, 'lab.crt'), authorityPem)
  execFileSync('chroot', [root, 'update-ca-certificates'], { stdio: 'ignore' })
  mkdirSync(join(root, 'root/.docker'), { mode: 0o700 })
  const auth = authFile({ registryHost: registry.host, account: registry.puller })
  writeFileSync(join(root, 'root/.docker/config.json'), auth, { mode: 0o600 })
  copyFileSync(deb, join(root, DEB))
}

/** The file on a machine, from outside. */
export function fileOf({ root }: Machine, path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
