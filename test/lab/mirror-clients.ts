import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../lab/lab.ts'
import type { LabHost } from '../../lab/machine/network.ts'
import { waitForPart } from '../../lab/machine/processes.ts'
import { authFile, type ImageReference } from '../../lab/pullers/puller.ts'

/** Real runtimes that reach a node by its mirror: no proxy, none of Shoal's authorities. */

/** For requests that name their registry, and the listener that is for the lab's registry alone. */
export const MIRROR = '127.0.0.1:577'
export const MIRROR_OF_REGISTRY = '127.0.0.1:578'
const PATIENCE_MS = 60_000

export interface MirrorClient {
  /** @throws LabCommandError */
  pull(image: ImageReference): Promise<void>
}

type Kind = 'containerd' | 'podman' | 'skopeo'

interface ClientOptions {
  /** Credentials for the mirror's own address; default true. */
  isKnownToMirror?: boolean
}

/** A client on a node's host, in a folder of its own. */
export async function startMirrorClient(
  lab: Lab,
  node: string,
  kind: Kind,
  { isKnownToMirror = true }: ClientOptions = {},
): Promise<MirrorClient> {
  const { host } = lab.node(node)
  // podman permits 50 characters for one of the paths below it.
  const dir = join(host.dir, `${kind.slice(0, 2)}${isKnownToMirror ? '' : '0'}`)
  mkdirSync(join(dir, '.config', 'containers'), { recursive: true, mode: 0o700 })
  if (kind === 'containerd') return startContainerd(lab, host, dir)
  const { registry, run } = lab
  const mirrors = isKnownToMirror ? { [MIRROR_OF_REGISTRY]: registry.puller } : {}
  const accounts = { registryHost: registry.host, account: registry.puller, otherAccounts: mirrors }
  const authPath = join(dir, 'auth.json')
  writeFileSync(authPath, authFile(accounts), { mode: 0o600 })
  // The user's own configuration is read instead of the system's.
  const mirror = `[[registry.mirror]]\nlocation = "${MIRROR_OF_REGISTRY}"\ninsecure = true\n`
  const registries = `[[registry]]\nlocation = "${registry.host}"\n${mirror}`
  writeFileSync(join(dir, '.config', 'containers', 'registries.conf'), registries)
  const certificates = join(host.etcDocker, 'certs.d', registry.host)
  const skopeo = (name: string) => [
    ...['skopeo', '--insecure-policy', '--tmpdir', dir, 'copy', '--quiet', '--src-authfile', authPath],
    ...['--src-cert-dir', certificates, `docker://${name}`, `dir:${join(dir, 'image')}`],
  ]
  const podman = (name: string) => [
    ...['podman', '--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--tmpdir', join(dir, 'tmp')],
    ...['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', 'pull', '--quiet'],
    ...['--authfile', authPath, '--cert-dir', certificates, name],
  ]
  const env = { HOME: dir, TMPDIR: dir, CONTAINERS_CONF: join(dir, 'containers.conf') }
  writeFileSync(env.CONTAINERS_CONF, '[engine]\nlock_type = "file"\nevents_logger = "none"\n')
  const argvOf = kind === 'podman' ? podman : skopeo
  return {
    async pull({ name }) {
      await run.processes.run({ argv: host.command(argvOf(name)), env, timeoutMs: PATIENCE_MS })
    },
  }
}

async function startContainerd({ run, registry }: Lab, host: LabHost, dir: string): Promise<MirrorClient> {
  const hosts = join(dir, 'certs.d')
  mkdirSync(join(hosts, registry.host), { recursive: true })
  const authority = `ca = "${join(host.etcDocker, 'certs.d', registry.host, 'lab.crt')}"`
  writeFileSync(
    join(hosts, registry.host, 'hosts.toml'),
    // The token server has the site's authority, and is asked with the settings of the host that named it.
    `server = "https://${registry.host}"
[host."http://${MIRROR}"]
capabilities = ["pull"]
${authority}
[host."https://${registry.host}"]
${authority}
`,
  )
  const address = join(dir, 'containerd.sock')
  const config = join(dir, 'config.toml')
  writeFileSync(
    config,
    `version = 2
root = "${join(dir, 'root')}"
state = "${join(dir, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "${address}"
`,
  )
  const argv = host.command(['containerd', '--config', config])
  const daemon = run.processes.start({ name: `${host.name}-containerd`, argv })
  const ctr = (argv: string[]) =>
    run.processes.run({
      argv: host.command(['ctr', '--address', address, ...argv]),
      timeoutMs: PATIENCE_MS,
    })
  await waitForPart(daemon, () => ctr(['version']))
  const { user, password } = registry.puller
  return {
    async pull({ name }) {
      // Verifies every blob against its digest.
      await ctr(['content', 'fetch', '--hosts-dir', hosts, '--user', `${user}:${password}`, name])
    },
  }
}
