import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startLab } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { labCgroup } from '../../../lab/machine/leftovers.ts'
import { type LabProcess, waitForPart } from '../../../lab/machine/processes.ts'
import { LAB_PATH } from '../../../lab/machine/requirements.ts'
import type { Parts } from '../../../lab/parts/parts.ts'
import { criPullImage } from '../../../lab/pullers/cri.ts'
import { authFile, type ImageReference, type PullerOptions } from '../../../lab/pullers/puller.ts'
import { sharingOf } from '../../../lab/runtimes/measure-client.ts'
import { pictureOf } from './machine-tree.ts'

/** A host of a lab as a machine of its own, to which `shoal attach` is done, with real programs of any Debian. */

const SHOAL = fileURLToPath(new URL('../../../bin/shoal.js', import.meta.url))
const PATIENCE_MS = 90_000
/** Folders of the system that the host gets for itself, so that nothing is written into the machine's own. */
const OWN_FOLDERS = {
  units: '/usr/lib/systemd/system',
  dropIns: '/etc/systemd/system',
  containers: '/etc/containers',
  containerd: '/etc/containerd',
  authorities: '/usr/local/share/ca-certificates',
  ssl: '/etc/ssl',
}
const BIND = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'

export type OwnFolder = keyof typeof OWN_FOLDERS

/** Two nodes that know no mirror: what `shoal attach` leaves is all that they get. */
export function startAttachLab(): Promise<Lab> {
  return startLab({
    nodes: ['a', 'b'].map((name) => ({ name, puller: 'skopeo' as const })),
    layerDataBytes: [1_000],
  })
}

export class LabMachine {
  readonly host
  readonly home: string
  readonly #lab: Lab
  readonly #parts: Parts | undefined
  readonly #dir: string

  /** @param name of what stands on it, and of its folders */
  constructor(lab: Lab, name: string, parts?: Parts) {
    this.#lab = lab
    this.#parts = parts
    this.host = lab.node('b').host
    this.#dir = join(this.host.dir, name)
    for (const folder of Object.keys(OWN_FOLDERS))
      mkdirSync(this.folder(folder as OwnFolder), { recursive: true })
    this.home = join(this.#dir, 'home')
    mkdirSync(join(this.home, '.docker'), { recursive: true })
    const { registry } = lab
    const accounts = { registryHost: registry.host, account: registry.puller }
    writeFileSync(join(this.home, '.docker/config.json'), authFile(accounts), { mode: 0o600 })
    if (parts !== undefined) this.#writeVersions(parts)
  }

  folder(name: OwnFolder): string {
    return join(this.#dir, name)
  }

  write(name: OwnFolder, path: string, text: string): void {
    const file = join(this.folder(name), path)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, text)
  }

  /** All that an attachment may touch. */
  picture(): Record<string, unknown> {
    const names = Object.keys(OWN_FOLDERS) as OwnFolder[]
    const folders = names.filter((name) => name !== 'ssl').map((name) => this.folder(name))
    const lib = Object.entries(pictureOf(this.host.varLib)).filter(([name]) => name.startsWith('shoal-'))
    return Object.fromEntries([
      ...[...folders, this.host.etcDocker].map((folder) => [folder, pictureOf(folder)] as const),
      ...lib,
    ])
  }

  /** What the system trusts: its tool makes it anew each time. */
  trusted(): string[] {
    const all = Object.entries(pictureOf(this.folder('ssl'))) as [string, { text?: string; link?: string }][]
    return all.map(([name, { text, link }]) => `${name} ${text ?? link ?? ''}`).sort()
  }

  commandLine(argv: string[]): string[] {
    const binds = Object.entries(OWN_FOLDERS).flatMap(([name, path]) => [
      this.folder(name as OwnFolder),
      path,
    ])
    return this.host.command(['sh', '-c', BIND, 'sh', ...binds, '--', ...argv])
  }

  run(argv: string[], env: Record<string, string> = {}): Promise<string> {
    const PATH = `${join(this.#dir, 'bin')}:${LAB_PATH}`
    return this.#lab.run.processes.run({
      argv: this.commandLine(argv),
      env: { HOME: this.home, PATH, ...env },
      timeoutMs: PATIENCE_MS,
    })
  }

  shoal(...argv: string[]): Promise<string> {
    return this.run([process.execPath, SHOAL, ...argv])
  }

  /** The node of a lab has a data folder of its own, which only root can read. */
  attach(runtime: string, ...flags: string[]): Promise<string> {
    const authority = join(this.host.dir, 'shoal/data/proxy-ca.crt')
    const { registry } = this.#lab
    return this.shoal(
      ...['attach', runtime, '--registry', registry.host, '--yes', '--authority-file', authority, ...flags],
    )
  }

  detach(runtime: string): Promise<string> {
    return this.shoal('detach', runtime, '--yes')
  }

  /** Of clients that are started on this machine. */
  get clientOptions(): PullerOptions {
    const { run, registry } = this.#lab
    return {
      ...{ host: this.host, processes: run.processes, registryHost: registry.host },
      ...{ account: registry.puller, proxyUrl: undefined, cgroupParent: labCgroup(run.id) },
      ...(this.#parts === undefined ? {} : { parts: this.#parts }),
    }
  }

  /** containerd with /etc/containerd/config.toml. `pull` is the kubelet's. */
  async startContainerd(
    folder: string,
  ): Promise<{ pull(image: ImageReference): Promise<void>; stop(): Promise<void> }> {
    const { run, registry } = this.#lab
    const command = ['containerd', '--config', '/etc/containerd/config.toml']
    const daemon: LabProcess = run.processes.start({
      name: `b-${folder}`,
      argv: this.commandLine(this.#parts === undefined ? command : this.#parts.command(command)),
    })
    const socket = this.containerdSocket
    const pull = (image: string) =>
      criPullImage({ socket, image, account: registry.puller, timeoutMs: PATIENCE_MS })
    await waitForPart(daemon, () => this.run(['timeout', '5', 'ctr', '--address', socket, 'version'], {}))
    return { pull: ({ name }) => pull(name), stop: () => daemon.stop() }
  }

  get containerdSocket(): string {
    return join(this.#dir, 'containerd.sock')
  }

  /** The rest of config.toml: all that keeps it from the machine's own. */
  containerdConfig(format: 2 | 3): string {
    return `version = ${format}
root = "${join(this.#dir, 'root')}"
state = "${join(this.#dir, 'state')}"
[grpc]
  address = "${this.containerdSocket}"
`
  }

  /** Programs that answer for these parts: Node itself cannot run over their /usr. */
  #writeVersions(parts: Parts): void {
    const bin = join(this.#dir, 'bin')
    mkdirSync(bin)
    // With their folders: the PATH would lead here again.
    for (const path of ['/usr/bin/containerd', '/usr/sbin/dockerd', '/usr/bin/podman']) {
      const quoted = parts.command([path]).map((word) => `'${word}'`)
      const script = `#!/bin/sh\nexec unshare --mount --propagation private -- ${quoted.join(' ')} "$@"\n`
      writeFileSync(join(bin, basename(path)), script, { mode: 0o755 })
    }
  }
}

/** A new image is pulled on node a, and then here. @returns the copies that left the registry, and the share of peers */
export async function sharingWith(lab: Lab, tag: string, pull: (image: ImageReference) => Promise<unknown>) {
  const image = await lab.publish(tag, [20_000_000, 5_000_003])
  await lab.node('a').puller.pull(image)
  await pull(image)
  return sharingOf(lab, image)
}
