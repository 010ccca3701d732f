import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type KeyedCertificate, makeAuthority } from '../../core/issue-certificate.ts'
import type { LabHost } from '../machine/network.ts'
import { LAB_BASE, type LabRequirement } from '../machine/requirements.ts'
import { buildRun, type LabRun } from '../machine/run.ts'
import {
  type ConfigOverrides,
  type LabShoalNode,
  type LabTracker,
  startShoalNode,
  startTracker,
  TRACKER_HOST,
} from '../shoal.ts'
import { type CorporateProxy, startCorporateProxy } from './corporate-proxy.ts'
import { FieldClients, type FieldHost } from './field-clients.ts'
import { hostOf, kindOf, type OddRegistry } from './manners.ts'
import { makeOddCertificates, type OddCertificates } from './odd-certificates.ts'
import type { OddImage } from './odd-image.ts'
import { type OddRegistries, startOddRegistries } from './odd-registry.ts'

/**
 * A lab for odd registries: all of them on one host, a tracker, two hosts with Shoal, and two without it as the yardstick.
 */

export const FIELD_PARTS: readonly LabRequirement[] = [...LAB_BASE, 'dockerd', 'docker', 'curl']

const AUTHORITY_SECONDS = 7 * 24 * 3600
/** In the order in which pulls take them. */
const DIRECT_HOSTS = ['plain1', 'plain2']
const SHOAL_HOSTS = ['node1', 'node2']

export interface FieldLabOptions {
  registries: OddRegistry[]
  images: OddImage[]
  /** The registries can be reached through an HTTP proxy only, which every host knows by its environment. */
  isBehindProxy?: boolean
  /** A pull that takes longer has failed. */
  patienceMs: number
  /** Called as soon as there is something to close. */
  onRun?: (run: LabRun) => void
}

export interface FieldLab {
  readonly run: LabRun
  readonly odd: OddRegistries
  readonly tracker: LabTracker
  readonly nodes: LabShoalNode[]
  readonly clients: FieldClients
  /** Addresses of the hosts with Shoal. */
  readonly shoalAddresses: string[]
  close(): Promise<void>
}

export function openFieldLab(options: FieldLabOptions): Promise<FieldLab> {
  return buildRun((run) => assemble(options, run), options.onRun)
}

async function assemble(options: FieldLabOptions, run: LabRun): Promise<FieldLab> {
  const { network, processes } = run
  const { registries, images } = options
  const authority = await makeAuthority({ commonName: 'Shoal field', validForSeconds: AUTHORITY_SECONDS })
  const certificates = await makeOddCertificates(authority, registries)
  const registryHost = await network.addHost(
    'registry',
    registries.map(({ name }) => name),
  )
  const odd = await startOddRegistries(registryHost, processes, {
    ...{ registries, images },
    tls: { ...certificates, authorityPem: authority.certificatePem },
  })
  const plain = await addHosts(run, DIRECT_HOSTS)
  const withShoal = await addHosts(run, SHOAL_HOSTS)
  for (const host of [...plain, ...withShoal]) trustAll(host, registries, certificates)
  const proxy = options.isBehindProxy
    ? await startCorporateProxy(run, { registryHost, others: [...plain, ...withShoal] })
    : undefined
  const site = { options, run, authority, certificates }
  const trackerHost = await network.addHost('tracker', [TRACKER_HOST])
  const tracker = await startTracker({ host: trackerHost, ...programOf(site, { isTracker: true }) })
  const env = proxy?.environment([TRACKER_HOST]) ?? {}
  const nodes = await Promise.all(
    withShoal.map((host) => startShoalNode({ host, tracker, ...programOf(site, {}), env })),
  )
  const hosts: FieldHost[] = [
    ...plain.map((host) => ({ host, isDirect: true, proxyUrl: proxy?.url })),
    ...withShoal.map((host) => ({ host, isDirect: false, proxyUrl: undefined })),
  ]
  const authorityFile = join(run.dir, 'field-ca.pem')
  writeFileSync(authorityFile, authority.certificatePem)
  const clients = new FieldClients({ run, hosts, registries, authorityFile, patienceMs: options.patienceMs })
  const shoalAddresses = [...withShoal.map(({ address }) => address), ...proxyAddress(proxy)]
  return { run, odd, tracker, nodes, clients, shoalAddresses, close: () => run.close() }
}

/** Behind a proxy, all requests come from its address. */
function proxyAddress(proxy: CorporateProxy | undefined): string[] {
  return proxy === undefined ? [] : [proxy.address]
}

async function addHosts({ network }: LabRun, names: string[]): Promise<LabHost[]> {
  const hosts: LabHost[] = []
  for (const name of names) hosts.push(await network.addHost(name))
  return hosts
}

/** As an administrator would: Docker, and the lab's other clients, read every `*.crt` there. */
function trustAll({ etcDocker }: LabHost, registries: OddRegistry[], certificates: OddCertificates): void {
  for (const registry of registries) {
    const dir = join(etcDocker, 'certs.d', hostOf(registry))
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, 'lab.crt'), certificates.trustedFor(registry))
    if (registry.trust !== 'client-certificate') continue
    writeFileSync(join(dir, 'client.cert'), certificates.client.certificatePem)
    writeFileSync(join(dir, 'client.key'), certificates.client.privateKeyPem, { mode: 0o600 })
  }
}

interface FieldSite {
  options: FieldLabOptions
  run: LabRun
  authority: KeyedCertificate
  certificates: OddCertificates
}

function programOf(site: FieldSite, { isTracker = false }) {
  const configs = site.options.registries
    .filter((registry) => kindOf(registry) !== 'unlisted')
    .map((registry) => configOf(site, registry, isTracker))
  const overrides: ConfigOverrides = { registries: configs }
  return { processes: site.run.processes, registryConfig: configs[0]!, overrides }
}

function configOf(
  { run, certificates }: FieldSite,
  registry: OddRegistry,
  isTracker: boolean,
): ConfigOverrides {
  const path = registry.prefix === undefined ? {} : { apiPath: registry.prefix }
  const config = { host: hostOf(registry), kind: kindOf(registry), ...path }
  if (registry.isPlain || (registry.isInDockersTrustOnly && !isTracker)) return config
  const caFile = join(run.dir, `ca-${registry.name}.pem`)
  writeFileSync(caFile, certificates.trustedFor(registry))
  return { ...config, caFile }
}
