import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../lab/lab.ts'
import { labCgroup } from '../../lab/machine/leftovers.ts'
import type { LabHost } from '../../lab/machine/network.ts'
import { startDocker } from '../../lab/pullers/docker.ts'

/** What runs the image on a host of a lab, by the command line that Docker and Podman have in common. */
export interface ContainerEngine {
  readonly host: LabHost
  /** @param input standard input @returns standard output */
  run(argv: string[], input?: string): Promise<string>
}

export const ENGINES = ['podman', 'docker'] as const
export type EngineName = (typeof ENGINES)[number]

const COMMAND_MS_MAX = 120_000
/** A machine that is itself a container may not permit as many as podman asks for as root. */
const PODMAN_LIMITS = ['nofile=1024:1024', 'nproc=1024:1024']

/** The image's files are copied from layer to layer: no overlay mounts. */
export async function startEngine(name: EngineName, lab: Lab): Promise<ContainerEngine> {
  const host = await lab.run.network.addHost(name)
  const cgroupParent = labCgroup(lab.run.id)
  const { processes } = lab.run
  const registryHost = lab.registry.host
  if (name === 'docker') {
    const none = { account: undefined, proxyUrl: undefined }
    const docker = await startDocker({ host, processes, registryHost, cgroupParent, ...none })
    return { host, run: docker.command }
  }
  const dir = join(host.dir, 'podman')
  mkdirSync(join(dir, 'tmp'), { recursive: true, mode: 0o700 })
  const limits = PODMAN_LIMITS.map((limit) => `"${limit}"`).join(', ')
  // Locks in files: those in shared memory have one name for the whole machine.
  const conf = `[containers]\ndefault_ulimits = [${limits}]\n[engine]\nlock_type = "file"\nevents_logger = "none"\nvolume_path = "${dir}/volumes"\n`
  writeFileSync(join(dir, 'containers.conf'), conf)
  const places = [
    '--root',
    join(dir, 'root'),
    '--runroot',
    join(dir, 'runroot'),
    '--tmpdir',
    join(dir, 'tmp'),
  ]
  const podman = ['podman', ...places, '--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs']
  const env = { HOME: dir, TMPDIR: join(dir, 'tmp'), CONTAINERS_CONF: join(dir, 'containers.conf') }
  const parent = ['--cgroup-parent', cgroupParent]
  return {
    host,
    run: ([verb = '', ...rest], input) =>
      processes.run({
        argv: host.command([...podman, verb, ...(verb === 'run' ? parent : []), ...rest]),
        env,
        timeoutMs: COMMAND_MS_MAX,
        ...(input === undefined ? {} : { input }),
      }),
  }
}
