import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitForPart } from '../machine/processes.ts'
import { ArchiveDigests } from './archive-digests.ts'
import {
  authFile,
  commandOf,
  environmentOf,
  type ImageReference,
  PULL_PATIENCE_MS,
  type Puller,
  type PullerOptions,
  packedDigests,
  unpackedDigests,
} from './puller.ts'

const COMMAND_PATIENCE_MS = 60_000

export interface DockerOptions extends PullerOptions {
  /** Its folder on the host; two daemons need two. */
  folder?: string
  /** Contents of daemon.json. */
  daemonConfig?: object
}

/** A daemon, and its command line for anything but pulls. */
export interface Docker extends Puller {
  command(argv: string[], input?: string, env?: Record<string, string>): Promise<string>
  /** The command line of such a command, to be started and stopped. */
  commandLine(argv: string[]): string[]
  stop(): Promise<void>
}

/** A Docker daemon of one host: its own data, socket, control groups, proxy and trust. */
export async function startDocker(options: DockerOptions): Promise<Docker> {
  const folder = options.folder ?? 'docker'
  const dir = join(options.host.dir, folder)
  const clientDir = join(dir, 'client')
  mkdirSync(clientDir, { recursive: true, mode: 0o700 })
  writeFileSync(join(clientDir, 'config.json'), authFile(options), { mode: 0o600 })
  writeFileSync(join(dir, 'daemon.json'), JSON.stringify(options.daemonConfig ?? {}))
  const socket = join(dir, 'docker.sock')
  const daemon = options.processes.start({
    name: `${options.host.name}-${folder === 'docker' ? 'dockerd' : folder}`,
    argv: commandOf(options, daemonCommand(dir, socket, options.cgroupParent)),
    env: environmentOf(options),
  })
  const commandLine = (argv: string[]) =>
    commandOf(options, ['docker', '--config', clientDir, '--host', `unix://${socket}`, ...argv])
  // The command line only talks to the daemon, which does the pull.
  const docker = (argv: string[], timeoutMs = COMMAND_PATIENCE_MS, onOutput?: (chunk: Buffer) => void) =>
    options.processes.run({
      argv: commandLine(argv),
      timeoutMs,
      ...(onOutput === undefined ? {} : { onOutput }),
    })
  // `docker manifest` asks the registry itself, so that these run on the host.
  const command = (argv: string[], input?: string, env: Record<string, string> = {}) =>
    options.processes.run({
      argv: commandLine(argv),
      env: { ...environmentOf(options), ...env },
      timeoutMs: COMMAND_PATIENCE_MS,
      ...(input === undefined ? {} : { input }),
    })
  await waitForPart(daemon, () => docker(['info'], 5000))
  return {
    kind: 'docker',
    command,
    commandLine,
    async pull({ name }) {
      await docker(['pull', '--quiet', name], options.patienceMs ?? PULL_PATIENCE_MS)
    },
    async verify(image) {
      if (!(await isInspectedRight(docker, image))) return false
      const stored = new ArchiveDigests()
      await docker(['save', image.name], COMMAND_PATIENCE_MS, stored.push)
      return stored.hasAll(unpackedDigests(image)) || stored.hasAll(packedDigests(image))
    },
    run: ({ name }) => docker(['run', '--rm', '--network', 'none', name]),
    stop: () => daemon.stop(),
  }
}

/** The tag's manifest, as the daemon found it, and the config that it names are those that were pushed. */
async function isInspectedRight(
  docker: (argv: string[]) => Promise<string>,
  { name, manifestDigest, configDigest }: ImageReference,
): Promise<boolean> {
  const [image] = JSON.parse(await docker(['image', 'inspect', name])) as {
    Id: string
    RepoDigests: string[]
  }[]
  const isManifest = image?.RepoDigests.some((reference) => reference.endsWith(`@${manifestDigest}`))
  // The image's id is its config's digest; daemons on containerd's store use the manifest's.
  return isManifest === true && [configDigest, manifestDigest].some((digest) => digest === image?.Id)
}

function daemonCommand(dir: string, socket: string, cgroupParent: string): string[] {
  return [
    'dockerd',
    ...['--config-file', join(dir, 'daemon.json')],
    ...['--data-root', join(dir, 'data')],
    ...['--exec-root', join(dir, 'exec')],
    ...['--pidfile', join(dir, 'docker.pid')],
    ...['--host', `unix://${socket}`],
    ...['--cgroup-parent', cgroupParent],
    // Containers here have no network, and the host's namespace needs no rules.
    ...['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
  ]
}
