import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LabProcess, waitForPart } from '../machine/processes.ts'
import { startContainerd } from './containerd.ts'
import {
  authFile,
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type PullerOptions,
} from './puller.ts'
import { writeTrustBundle } from './trust-bundle.ts'

/**
 * SOCI: containerd with a snapshotter that mounts layers through FUSE and fetches what is read of them, by an index that
 * stands beside the image in the registry.
 */

const COMMAND_PATIENCE_MS = 60_000
/** The program keeps its state there and takes no other folder: each host has one of its own. */
const OWN_STATE = 'mount --bind "$1" /var/lib && shift 2 && exec "$@"'
const SNAPSHOTS = '/var/lib/soci-snapshotter-grpc/snapshotter/snapshots'

export interface Soci {
  /** Takes a whole image, makes its index, and pushes that to the registry. */
  publishIndex(image: ImageReference): Promise<void>
  /** Mounts an image's layers, and fetches nothing yet but what tells what is in them. */
  mount(image: ImageReference): Promise<void>
  /** Reads the file of that name in any mounted layer. @returns its SHA-256 in hex */
  hashOf(file: string): Promise<string>
}

export interface SociOptions extends PullerOptions {
  folder: string
  generation: 1 | 2
}

export async function startSoci(options: SociOptions): Promise<Soci> {
  const { host, processes, folder, account } = options
  const dir = join(host.dir, folder)
  const state = join(dir, 'state')
  mkdirSync(state, { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'config.json'), authFile(options), { mode: 0o600 })
  // Its own defaults.
  writeFileSync(join(dir, 'soci.toml'), '')
  const env = {
    ...environmentOf(options),
    ...{ HOME: dir, DOCKER_CONFIG: dir, SSL_CERT_FILE: writeTrustBundle(options, dir) },
  }
  const socket = join(dir, 'soci.sock')
  const owned = (argv: string[]) => commandOf(options, ['sh', '-c', OWN_STATE, 'sh', state, '--', ...argv])
  const snapshotter = processes.start({
    name: `${host.name}-soci`,
    argv: owned(['soci-snapshotter-grpc', '-address', socket, '-config', join(dir, 'soci.toml')]),
    env,
  })
  const daemon = await startContainerd({
    ...options,
    ...{ folder: `${folder}-containerd`, pullsWith: 'ctr', registries: 'own', env },
    snapshotter: { name: 'soci', socket },
  })
  const soci = (argv: string[], timeoutMs = COMMAND_PATIENCE_MS) =>
    processes.run({
      argv: owned(['soci', '--address', daemon.socket, '--namespace', 'k8s.io', ...argv]),
      env,
      timeoutMs,
    })
  await waitForPart(snapshotter, () => soci(['index', 'list'], 5_000))
  const user = account === undefined ? [] : ['--user', `${account.user}:${account.password}`]
  return {
    async publishIndex(image) {
      await daemon.pull(image)
      await soci(['create', '--min-layer-size', '0', image.name])
      await soci(['push', ...user, image.name])
    },
    async mount({ name }) {
      await soci(['image', 'rpull', ...user, name], PULL_PATIENCE_MS)
    },
    hashOf: (file) => hashIn(options, snapshotter, file),
  }
}

/** The mounts are in the snapshotter's own namespace. */
async function hashIn({ processes }: SociOptions, snapshotter: LabProcess, file: string): Promise<string> {
  const script = `sha256sum ${SNAPSHOTS}/*/fs/${file}`
  const argv = ['nsenter', '--target', String(snapshotter.pid), '--mount', '--', 'sh', '-c', script]
  return (await processes.run({ argv, timeoutMs: COMMAND_PATIENCE_MS })).split(' ')[0]!
}
