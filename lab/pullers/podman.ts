import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ArchiveDigests } from './archive-digests.ts'
import {
  authFile,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
  proxyEnvironment,
  unpackedDigests,
} from './puller.ts'

const COMMAND_PATIENCE_MS = 120_000
/** As root, podman asks for a million open files, which a machine that is itself a container may not give. */
const CONTAINER_LIMITS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024']

/** Podman with a store of the host's own: no daemon, no overlay mounts, no locks in shared memory. */
export function makePodman(options: PullerOptions): Puller {
  const { host, processes, registryHost, cgroupParent } = options
  const dir = join(host.dir, 'podman')
  mkdirSync(join(dir, 'tmp'), { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'auth.json'), authFile(options), { mode: 0o600 })
  writeFileSync(join(dir, 'containers.conf'), containersConf(dir))
  const podman = (argv: string[], timeoutMs = COMMAND_PATIENCE_MS, onOutput?: (chunk: Buffer) => void) =>
    processes.run({
      argv: host.command([...podmanCommand(dir), ...argv]),
      env: {
        ...proxyEnvironment(options),
        HOME: dir,
        TMPDIR: join(dir, 'tmp'),
        CONTAINERS_CONF: join(dir, 'containers.conf'),
      },
      timeoutMs,
      ...(onOutput === undefined ? {} : { onOutput }),
    })
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
      await podman(
        ['save', '--quiet', '--format', 'docker-archive', image.name],
        COMMAND_PATIENCE_MS,
        stored.push,
      )
      return stored.hasAll(unpackedDigests(image))
    },
    run: ({ name }) =>
      podman([
        'run',
        '--rm',
        '--network',
        'none',
        '--cgroup-parent',
        cgroupParent,
        ...CONTAINER_LIMITS,
        name,
      ]),
  }
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
