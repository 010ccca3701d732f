import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab, LabNode } from '../lab.ts'
import { labCgroup } from '../machine/leftovers.ts'
import type { Parts } from '../parts/parts.ts'
import type { Suite } from '../parts/suites.ts'
import { makeBuildah } from '../pullers/buildah.ts'
import { type ContainerdOptions, startContainerd } from '../pullers/containerd.ts'
import { type Docker, startDocker } from '../pullers/docker.ts'
import { makeCrane, makeOras } from '../pullers/layout-clients.ts'
import { makePodman } from '../pullers/podman.ts'
import type { Puller, PullerOptions } from '../pullers/puller.ts'
import { makeSkopeo } from '../pullers/skopeo.ts'
import { writeTrustBundle } from '../pullers/trust-bundle.ts'
import { REGISTRY_HOST } from '../registry/registry.ts'
import { NODE_PROXY_URL } from '../shoal.ts'

/** Every runtime with every configuration by which it is attached to a node: for the tests and the benchmark alike. */

export interface RuntimeSite {
  lab: Lab
  node: LabNode
  parts: Parts
}

export interface Runtime extends Puller {
  stop?(): Promise<void>
}

export interface RuntimeClient {
  /** As people call it. */
  client: string
  suite: Suite
  /** Its Debian package, which tells the version. */
  package: string
  configuration: string
  /** Where the registry's token server answers; most sites have one of its own. */
  tokens: TokenPlace
  start(site: RuntimeSite, folder: string): Promise<Runtime>
}

/** `own host`: a host of its own. `registry`: the registry's own host and port. */
export type TokenPlace = 'own host' | 'registry'

/** The version, and what tells this row from others. */
export function nameOf({ client, suite, configuration, tokens }: RuntimeClient): string {
  return `${client} of ${suite}, ${configuration}${tokens === 'registry' ? ', tokens at the registry' : ''}`
}

type Start = RuntimeClient['start']

/** The daemon's own proxy setting (from Docker 23 on). */
function docker(hasContainerdStore: boolean): Start {
  return (site, folder) => startRuntimeDocker(site, folder, hasContainerdStore)
}

/** With the site's authority in the system's store, as a site that has one installs it. */
export function startRuntimeDocker(
  site: RuntimeSite,
  folder: string,
  hasContainerdStore: boolean,
): Promise<Docker> {
  const { proxyUrl, ...direct } = commonOf(site)
  return startDocker({
    ...direct,
    ...{ folder, proxyUrl: undefined },
    daemonConfig: {
      proxies: { 'http-proxy': proxyUrl, 'https-proxy': proxyUrl },
      features: { 'containerd-snapshotter': hasContainerdStore },
    },
    env: systemStoreOf(site),
  })
}

/** The mirror instead of the proxy: neither a proxy setting nor Shoal's authority. */
function containerdWithMirror(generation: 1 | 2, pullsWith: 'cri' | 'ctr'): Start {
  return (site, folder) =>
    startContainerd({
      ...{ ...commonOf(site), proxyUrl: undefined, folder, generation, pullsWith, registries: 'own' },
      mirrorUrl: `http://${MIRROR}`,
      env: systemStoreOf(site),
    })
}

/** Podman and skopeo ask `/v2/` first, and look for a credential of the mirror's own address. */
function withMirror(make: (options: PullerOptions & { folder: string }) => Runtime): Start {
  return async (site, folder) => {
    const { proxyUrl, ...direct } = commonOf(site)
    // Podman reads what its environment names, skopeo what is in its home.
    const home = join(site.node.host.dir, folder, '.config', 'containers')
    mkdirSync(home, { recursive: true })
    const registriesConf = join(home, 'registries.conf')
    writeFileSync(registriesConf, registriesConfOf(site.lab.registry.host))
    return make({
      ...{ ...direct, proxyUrl: undefined, folder },
      otherAccounts: { [REGISTRY_MIRROR]: site.lab.registry.puller },
      env: { CONTAINERS_REGISTRIES_CONF: registriesConf },
    })
  }
}

function registriesConfOf(registryHost: string): string {
  return `[[registry]]
location = "${registryHost}"

[[registry.mirror]]
location = "${REGISTRY_MIRROR}"
insecure = true
`
}

type ContainerdConfiguration = Pick<
  ContainerdOptions,
  'generation' | 'pullsWith' | 'registries' | 'parallelBytes' | 'mirrored'
>

function containerd(configuration: ContainerdConfiguration): Start {
  return (site, folder) =>
    startContainerd({ ...commonOf(site), folder, ...configuration, env: systemStoreOf(site) })
}

/** containerd 2.1 reads no list of folders, so that it trusts what the system's store has. */
function containerdWithFolderList(generation: 1 | 2): Start {
  return (site, folder) => {
    const common = commonOf(site)
    return startContainerd({
      ...{ ...common, folder, generation, registries: 'both', pullsWith: 'cri' },
      env: { SSL_CERT_FILE: writeTrustBundle(common, site.node.host.dir) },
    })
  }
}

const podman: Start = async (site, folder) => makePodman({ ...commonOf(site), folder })
const buildah: Start = async (site, folder) => makeBuildah({ ...commonOf(site), folder })
const skopeo: Start = async (site, folder) => makeSkopeo({ ...commonOf(site), folder })
const crane: Start = async (site, folder) => makeCrane({ ...commonOf(site), folder })
const oras: Start = async (site, folder) => makeOras({ ...commonOf(site), folder })

export function commonOf({ lab, node, parts }: RuntimeSite): PullerOptions {
  return {
    ...{ host: node.host, processes: lab.run.processes, registryHost: lab.registry.host, parts },
    account: lab.registry.puller,
    proxyUrl: NODE_PROXY_URL,
    cgroupParent: labCgroup(lab.run.id),
  }
}

function systemStoreOf({ lab }: RuntimeSite): Record<string, string> {
  return { SSL_CERT_FILE: join(lab.run.dir, 'registry-ca.pem') }
}

/** The mirror of the lab's nodes: for all registries, and for the lab's alone. */
const MIRROR = '127.0.0.1:577'
const REGISTRY_MIRROR = '127.0.0.1:578'
export const MIRROR_LISTEN = `${MIRROR},${REGISTRY_HOST}=${REGISTRY_MIRROR}`

const DAEMON_PROXIES = 'proxies in daemon.json'
const IN_ENVIRONMENT = 'HTTPS_PROXY'
const AS_MIRROR = 'mirror'

type ClientRow = Omit<RuntimeClient, 'suite' | 'tokens'>

/** Of both suites. */
function clientsOf(suite: Suite): ClientRow[] {
  const generation = suite === 'trixie' ? 1 : 2
  const own = { generation, registries: 'own' } as const
  const cri = { client: 'containerd CRI', package: 'containerd' }
  const classic = { client: 'dockerd', package: 'docker.io', start: docker(false) }
  const store = { client: 'dockerd', package: 'docker.io', start: docker(true) }
  return [
    { ...classic, configuration: `classic store, ${DAEMON_PROXIES}` },
    { ...store, configuration: `containerd store, ${DAEMON_PROXIES}` },
    {
      ...cri,
      configuration: `${IN_ENVIRONMENT}, ca in hosts.toml`,
      start: containerd({ ...own, pullsWith: 'cri' }),
    },
    {
      ...cri,
      configuration: `${IN_ENVIRONMENT}, config_path is Docker's certs.d`,
      start: containerd({ generation, registries: "docker's", pullsWith: 'cri' }),
    },
    {
      ...cri,
      configuration: `${IN_ENVIRONMENT}, config_path is a list, Shoal's authority in the system's store`,
      start: containerdWithFolderList(generation),
    },
    {
      ...cri,
      configuration: `${IN_ENVIRONMENT}, mirror of another registry's name in hosts.toml (?ns=)`,
      start: containerd({ ...own, pullsWith: 'cri', mirrored: 'upstream.shoal.test' }),
    },
    {
      ...{ client: 'ctr', package: 'containerd' },
      configuration: `${IN_ENVIRONMENT}, --hosts-dir`,
      start: containerd({ ...own, pullsWith: 'ctr' }),
    },
    { client: 'podman', package: 'podman', configuration: IN_ENVIRONMENT, start: podman },
    { client: 'buildah', package: 'buildah', configuration: IN_ENVIRONMENT, start: buildah },
    { client: 'skopeo', package: 'skopeo', configuration: IN_ENVIRONMENT, start: skopeo },
    {
      ...{ client: 'oras', package: 'oras' },
      configuration: `${IN_ENVIRONMENT}, --from-ca-file`,
      start: oras,
    },
    {
      ...cri,
      configuration: `${AS_MIRROR} in hosts.toml`,
      start: containerdWithMirror(generation, 'cri'),
    },
    {
      ...{ client: 'ctr', package: 'containerd' },
      configuration: `${AS_MIRROR} in hosts.toml`,
      start: containerdWithMirror(generation, 'ctr'),
    },
    {
      ...{ client: 'podman', package: 'podman' },
      configuration: `${AS_MIRROR} in registries.conf, with an entry of its own for credentials`,
      start: withMirror(makePodman),
    },
    {
      ...{ client: 'skopeo', package: 'skopeo' },
      configuration: `${AS_MIRROR} in registries.conf, with an entry of its own for credentials`,
      start: withMirror(makeSkopeo),
    },
  ]
}

const SID_ONLY: ClientRow[] = [
  {
    ...{ client: 'containerd CRI', package: 'containerd' },
    configuration: `${IN_ENVIRONMENT}, ca in hosts.toml, parallel ranges of 8 MiB`,
    start: containerd({ generation: 2, registries: 'own', pullsWith: 'cri', parallelBytes: 8 * 1024 * 1024 }),
  },
  {
    ...{ client: 'crane', package: 'crane' },
    configuration: `${IN_ENVIRONMENT}, SSL_CERT_FILE`,
    start: crane,
  },
]

const EVERYWHERE: Omit<RuntimeClient, 'tokens'>[] = [
  ...clientsOf('trixie').map((row) => ({ ...row, suite: 'trixie' as const })),
  ...[...clientsOf('sid'), ...SID_ONLY].map((row) => ({ ...row, suite: 'sid' as const })),
]

export const RUNTIME_CLIENTS: readonly RuntimeClient[] = (['own host', 'registry'] as const).flatMap(
  (tokens) => EVERYWHERE.map((row) => ({ ...row, tokens })),
)
