import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ArchiveDigests } from './archive-digests.ts'
import {
  authFile,
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
  unpackedDigests,
} from './puller.ts'

const COMMAND_PATIENCE_MS = 120_000
/** As root, podman asks for a million open files. A machine that is itself a container may not allow that. */
const CONTAINER_LIMITS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024']

export interface PodmanOptions extends PullerOptions {
  /** Its folder on the host. */
  folder?: string
}

/** Podman with the host's own store: no daemon, no overlay mounts, no locks in shared memory. */
export function makePodman(options: PodmanOptions): Puller {
  const { host, registryHost, cgroupParent } = options
  const dir = join(host.dir, options.folder ?? 'podman')
  mkdirSync(join(dir, 'tmp'), { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'auth.json'), authFile(options), { mode: 0o600 })
  writeFileSync(join(dir, 'containers.conf'), containersConf(dir))
  const podman = podmanIn(dir, options)
  return {
    kind: 'podman',
    async pull({ name }) {
      const certificates = join(host.etcDocker, 'certs.d', registryHost)
      const argv = ['pull', '--quiet', '--authfile', join(dir, 'auth.json'), '--cert-dir', certificates, name]
      await podman(argv, PULL_PATIENCE_MS)
    },
    async verify(image) {
      if (!(await isInspectedRight(podman, image))) return false
      const stored = new ArchiveDigests()
      const save = ['save', '--quiet', '--format', 'docker-archive', image.name]
      await podman(save, COMMAND_PATIENCE_MS, stored.push)
      return stored.hasAll(unpackedDigests(image))
    },
    run: ({ name }) => {
      const isolation = ['--network', 'none', '--cgroup-parent', cgroupParent, ...CONTAINER_LIMITS]
      return podman(['run', '--rm', ...isolation, name])
    },
  }
}

/** Runs podman's commands on the host. */
function podmanIn(dir: string, options: PullerOptions) {
  const env = {
    ...environmentOf(options),
    HOME: dir,
    TMPDIR: join(dir, 'tmp'),
    CONTAINERS_CONF: join(dir, 'containers.conf'),
  }
  return (argv: string[], timeoutMs = COMMAND_PATIENCE_MS, onOutput?: (chunk: Buffer) => void) =>
    options.processes.run({
      argv: commandOf(options, [...podmanCommand(dir), ...argv]),
      env,
      timeoutMs,
      ...(onOutput === undefined ? {} : { onOutput }),
    })
}

async function isInspectedRight(
  podman: (argv: string[]) => Promise<string>,
  { name, manifestDigest, configDigest }: ImageReference,
): Promise<boolean> {
  const [image] = JSON.parse(await podman(['image', 'inspect', name])) as { Id: string; Digest: string }[]
  return image?.Digest === manifestDigest && `sha256:${image.Id}` === configDigest
}

function podmanCommand(dir: string): string[] {
  return [
    'podman',
    ...['--root', join(dir, 'root')],
    ...['--runroot', join(dir, 'runroot')],
    ...['--tmpdir', join(dir, 'tmp')],
    ...['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs'],
  ]
}

/** Locks in files: those in shared memory have one name for the whole machine. */
function containersConf(dir: string): string {
  return `[engine]
lock_type = "file"
events_logger = "none"
volume_path = "${join(dir, 'volumes')}"
[network]
network_config_dir = "${join(dir, 'networks')}"
`
}
