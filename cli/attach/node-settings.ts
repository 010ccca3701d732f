import { join } from 'node:path'
import { NODE_DATA_DIR } from '../../core/consent.ts'
import { UsageError } from '../../core/errors.ts'
import { readIfThere } from '../../core/read-if-there.ts'
import { DOCKER_HUB, parseRegistryHost, type RegistryHost } from '../../core/repository.ts'
import { NODE_CONFIG_FILE } from '../node-config-file.ts'
import type { Settings } from './plan.ts'

/** How runtimes reach the node of this machine: as its own settings say, unless flags say otherwise. */

const DEFAULT_MIRROR = '127.0.0.1:577'
/** The first port of a listener for one registry alone. */
const OWN_LISTENERS_FROM = 578

/** What attach needs of the node's settings. The node checks them, not attach. */
export interface NodeSettings {
  registries: string[]
  proxyListen: string
  mirrorListen: string
  authorityFile: string
}

/** @param root the tree that they stand in */
export function nodeSettings(root: string): NodeSettings {
  const all = configured(join(root, NODE_CONFIG_FILE))
  const text = (key: string) => (typeof all[key] === 'string' && all[key] !== '' ? all[key] : undefined)
  // No runtime that is attached here can use a socket of the file system.
  const mirrorListen = text('mirrorListen')
    ?.split(',')
    .filter((place) => !place.includes('unix:'))
    .join(',')
  return {
    registries: hostsIn(all.registries),
    proxyListen: text('proxyListen') ?? '127.0.0.1:7070',
    mirrorListen: mirrorListen && mirrorListen !== 'none' ? mirrorListen : DEFAULT_MIRROR,
    authorityFile: text('authorityFile') ?? join(text('dataDir') ?? NODE_DATA_DIR, 'proxy-ca.crt'),
  }
}

function configured(path: string): Record<string, unknown> {
  try {
    const all: unknown = JSON.parse(readIfThere(path) ?? '{}')
    return typeof all === 'object' && all !== null ? (all as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function hostsIn(registries: unknown): string[] {
  if (typeof registries === 'string') return registries.split(',').map((one) => one.trim())
  if (!Array.isArray(registries)) return []
  return registries.map((one: unknown) =>
    typeof one === 'string' ? one : String((one as { host?: unknown } | null)?.host),
  )
}

/** The listener for requests that name their registry, and those for one registry alone. @throws UsageError */
export function mirrorPlaces(text: string): Pick<Settings, 'mirrorUrl' | 'mirrorsOf'> {
  const places = text
    .split(',')
    .map((place) => /^(?:([^=]+)=)?((?:[\d.]+|\[[\d:a-f]+\]):\d+)$/.exec(place.trim()))
  if (places.includes(null)) {
    throw new UsageError('--mirror: expected address:port, with registry= before it for one registry alone', {
      hint: 'Separate several by commas, as in mirrorListen of the node.',
    })
  }
  const named = places.flatMap((place) =>
    place?.[1] === undefined ? [] : [[parseRegistryHost(place[1]), place[2]!]],
  )
  const general = places.find((place) => place !== null && place[1] === undefined)?.[2]
  return { mirrorUrl: `http://${general ?? DEFAULT_MIRROR}`, mirrorsOf: Object.fromEntries(named) }
}

/**
 * The settings with a listener for each registry.
 * @param used places of the mirror for other runtimes, in the form of mirrorListen
 */
export function withOwnListeners<S extends Pick<Settings, 'registries' | 'mirrorsOf' | 'mirrorUrl'>>(
  settings: S,
  used: string[],
): S {
  const mirrorsOf = { ...mirrorPlaces(used.join(',') || DEFAULT_MIRROR).mirrorsOf, ...settings.mirrorsOf }
  const taken = new Set([...used.map((place) => place.replace(/^.*=/, '')), ...Object.values(mirrorsOf)])
  taken.add(addressIn(settings.mirrorUrl))
  let port = OWN_LISTENERS_FROM
  for (const registry of settings.registries) {
    while (taken.has(`127.0.0.1:${port}`)) port++
    mirrorsOf[registry] ??= `127.0.0.1:${port}`
    taken.add(mirrorsOf[registry])
  }
  return { ...settings, mirrorsOf }
}

/** In the form of mirrorListen. */
export function ownListeners({
  registries,
  mirrorsOf,
}: Pick<Settings, 'registries' | 'mirrorsOf'>): string[] {
  return registries.map((registry) => `${registry}=${mirrorsOf[registry]}`)
}

export function addressIn(url: string): string {
  return url.replace(/^https?:\/\//, '')
}

/** As image names call it. */
export function imageNameOf(registry: RegistryHost): string {
  return registry === DOCKER_HUB ? 'docker.io' : registry
}
