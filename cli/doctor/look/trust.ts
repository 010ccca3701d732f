import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { readSmallIfThere } from '../../../core/read-if-there.ts'
import { parseRegistryHost, type RegistryHost, registryAddress } from '../../../core/repository.ts'
import { contextTrusting, trustedAuthorities } from '../../../core/trusted-authorities.ts'
import { trustFolders } from '../../attach/plan.ts'
import type { About } from '../about.ts'
import type { RuntimesFacts } from '../judge/runtimes.ts'
import type { TrustFacts } from '../judge/trust.ts'
import { tunnelThrough } from './tunnel.ts'

/** Registries that are tried through the proxy; the first count. */
export const TRUST_REGISTRIES_MAX = 16
/** Bound of authorities from one folder. */
const FILES_MAX = 64
/** Bound of one such file: the system's whole store is a quarter of it. */
const FILE_BYTES_MAX = 1024 * 1024

/** Where runtimes that use the proxy look for what they trust, beside the system's store. */
export async function lookAtTrust(
  about: About,
  { attached, docker, registries, proxyUrl }: RuntimesFacts,
): Promise<TrustFacts[]> {
  const byProxy = attached?.filter(({ via }) => via === 'proxy') ?? []
  const runtimes = byProxy.map(({ name }) => ({ name, isAttached: true }))
  const isByHand = docker !== undefined && proxyUrl.endsWith(docker.proxy.replace(/^https?:\/\//, ''))
  // Where nobody may see what is attached, Docker is the likeliest.
  const isGuessed = attached === undefined || isByHand
  if (isGuessed && docker?.proxy !== '' && !runtimes.some(({ name }) => name === 'docker'))
    runtimes.push({ name: 'docker', isAttached: false })
  const hosts = registries.slice(0, TRUST_REGISTRIES_MAX).map(parseRegistryHost)
  return Promise.all(
    runtimes.flatMap(({ name, isAttached }) =>
      hosts.map(async (registry) => ({
        ...{ registry, runtime: name, isAttached },
        ...(await handshake(about, registry, trustedBy(about, name, registry))),
      })),
    ),
  )
}

type Shaken = Pick<TrustFacts, 'failure' | 'isIntercepted' | 'distrust'>

async function handshake(
  { config, patienceMs }: About,
  registry: RegistryHost,
  trusted: string[],
): Promise<Shaken> {
  const { host, port } = registryAddress(registry)
  try {
    const answer = await tunnelThrough(config.proxyListen, { host, port }, patienceMs)
    if (!('socket' in answer)) return { failure: `the proxy answered ${answer.status}`, isIntercepted: false }
    const secureContext = contextTrusting([...trustedAuthorities(), ...trusted])
    const name = isIP(host) === 0 ? { servername: host } : {}
    // Only looked at: nothing is sent.
    const tls = connect({ socket: answer.socket, host, ...name, secureContext, rejectUnauthorized: false })
    try {
      tls.on('error', () => undefined)
      await once(tls, 'secureConnect', { signal: AbortSignal.timeout(patienceMs) })
      const issuer = tls.getPeerCertificate().issuer?.CN
      // For words only: whoever can put another certificate there can also stop the pull.
      const isIntercepted = typeof issuer === 'string' && issuer.startsWith('Shoal proxy')
      return { isIntercepted, ...(tls.authorized ? {} : { distrust: String(tls.authorizationError) }) }
    } finally {
      tls.destroy()
    }
  } catch (error) {
    return { failure: (error as Error).message, isIntercepted: false }
  }
}

function trustedBy({ config, root }: About, runtime: string, registry: RegistryHost): string[] {
  const docker = config.dockerCertsDir === '' ? [] : [config.dockerCertsDir]
  const dirs = runtime === 'podman' ? ['/etc/containers/certs.d', ...docker] : docker
  const folders = dirs.flatMap((dir) => trustFolders(registry).map((name) => join(root, dir, name)))
  return folders.flatMap((folder) =>
    namesIn(folder)
      .filter((name) => name.endsWith('.crt'))
      .slice(0, FILES_MAX)
      .flatMap((name) => readSmallIfThere(join(folder, name), FILE_BYTES_MAX) ?? []),
  )
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
