import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitForPart } from '../machine/processes.ts'
import { criPullImage } from './cri.ts'
import {
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
  packedDigests,
} from './puller.ts'

const COMMAND_PATIENCE_MS = 30_000
/** Where the kubelet's images are. */
const CRI_NAMESPACE = 'k8s.io'

/** containerd's folder of registries; Docker's is read in the same way. `both`: a list, which 2.1 does not read. */
export type RegistriesFolder = 'own' | "docker's" | 'both'

export interface ContainerdOptions extends PullerOptions {
  folder: string
  /** 1: containerd 1.7's configuration; 2: that of 2.x. */
  generation: 1 | 2
  /** `ctr` resolves and fetches by itself, and has its own environment. */
  pullsWith: 'cri' | 'ctr'
  registries: RegistriesFolder
  /** Ranges of this many bytes of one layer are fetched side by side. */
  parallelBytes?: number
  /** URL of a mirror endpoint of Shoal's on this host, instead of its proxy. */
  mirrorUrl?: string
  /** Images are pulled by this registry's name, of which the lab's registry is a mirror in `hosts.toml`. */
  mirrored?: string
  /** A snapshotter that is a program of its own, by its socket. */
  snapshotter?: { name: string; socket: string }
}

export interface Containerd extends Puller {
  readonly socket: string
  stop(): Promise<void>
}

/** A containerd of one host, with the registry's and Shoal's authorities in its `hosts.toml`. */
export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const dir = join(options.host.dir, options.folder)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const docker = join(options.host.etcDocker, 'certs.d')
  const registries = {
    own: () => writeHostsToml(options, dir),
    "docker's": () => docker,
    both: () => `${writeHostsToml(options, dir)}:${docker}`,
  }[options.registries]()
  const socket = join(dir, 'containerd.sock')
  const configFile = join(dir, 'config.toml')
  writeFileSync(configFile, configOf(options, { dir, socket, registries }))
  const { processes, host, account, patienceMs = PULL_PATIENCE_MS } = options
  const daemon = processes.start({
    name: `${host.name}-${options.folder}`,
    argv: commandOf(options, ['containerd', '--config', configFile]),
    env: environmentOf(options),
  })
  const ctr = (argv: string[], timeoutMs = COMMAND_PATIENCE_MS) =>
    processes.run({
      argv: commandOf(options, ['ctr', '--address', socket, '--namespace', CRI_NAMESPACE, ...argv]),
      env: environmentOf(options),
      timeoutMs,
    })
  await waitForPart(daemon, () => ctr(['version'], 5000))
  return {
    kind: 'containerd',
    socket,
    async pull(image) {
      const name = nameOf(options, image)
      if (options.pullsWith === 'cri') {
        return criPullImage({ socket, image: name, account, timeoutMs: patienceMs })
      }
      const local = options.generation === 2 ? ['--local'] : []
      const user = account === undefined ? [] : ['--user', `${account.user}:${account.password}`]
      await ctr(['images', 'pull', ...local, '--hosts-dir', registries, ...user, name], patienceMs)
    },
    async verify(image: ImageReference) {
      const stored = await ctr(['content', 'ls', '--quiet'])
      return [image.manifestDigest, ...packedDigests(image)].every((digest) => stored.includes(digest))
    },
    run: async () => undefined,
    stop: () => daemon.stop(),
  }
}

function nameOf({ mirrored, registryHost }: ContainerdOptions, { name }: ImageReference): string {
  return mirrored === undefined ? name : `${mirrored}${name.slice(registryHost.length)}`
}

/** As its documentation has it for a private authority; with a mirror, the registry itself stays the fallback. */
function writeHostsToml(options: ContainerdOptions, dir: string): string {
  const { host, registryHost, mirrorUrl, mirrored = registryHost, proxyUrl } = options
  const registries = join(dir, 'certs.d')
  const folder = join(registries, mirrored)
  mkdirSync(folder, { recursive: true })
  const trusted = join(host.etcDocker, 'certs.d', registryHost)
  const authorities = (names: string[]) => JSON.stringify(names.map((name) => join(trusted, name)))
  const site = authorities(['lab.crt'])
  const mirror = `[host."${mirrorUrl}"]\n  capabilities = ["pull"]\n`
  const direct = `[host."https://${registryHost}"]
  capabilities = ["pull", "resolve"]
  ca = ${proxyUrl === undefined ? site : authorities(['lab.crt', 'shoal.crt'])}
`
  const hosts = `server = "https://${mirrored}"\n${mirrorUrl === undefined ? '' : mirror}${direct}`
  writeFileSync(join(folder, 'hosts.toml'), hosts)
  return registries
}

interface Places {
  dir: string
  socket: string
  registries: string
}

function configOf(options: ContainerdOptions, { dir, socket, registries }: Places): string {
  const { generation, parallelBytes, snapshotter } = options
  const registry = generation === 1 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.images'
  const images = 'io.containerd.cri.v1.images'
  const parallel = `[plugins."${images}"]
  concurrent_layer_fetch_buffer = ${parallelBytes}
  max_concurrent_downloads = 8
`
  return `version = ${generation === 1 ? 2 : 3}
root = "${join(dir, 'root')}"
state = "${join(dir, 'state')}"
[grpc]
  address = "${socket}"
[plugins."${registry}".registry]
  config_path = "${registries}"
${parallelBytes === undefined ? '' : parallel}${snapshotter === undefined ? '' : pluginOf(snapshotter)}`
}

function pluginOf({ name, socket }: { name: string; socket: string }): string {
  return `[proxy_plugins.${name}]
  type = "snapshot"
  address = "${socket}"
`
}
