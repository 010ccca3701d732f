import type { Logger } from 'pino'
import type { Client } from '../client/index.ts'
import { CONDITION_CODES, type Conditions } from '../core/conditions.ts'
import { changeLogLevel } from '../core/log.ts'
import { openRegistries, type RegistryClient, type RegistrySurroundings } from '../core/registry-client.ts'
import { DOCKER_HUB, type RegistryHost } from '../core/repository.ts'
import { readTokenKeys } from '../core/token-key-bundle.ts'
import type { ProxyAuthority } from '../proxy/intercept/authority.ts'
import type { RunningProxy } from '../proxy/proxy.ts'
import type { TrustFiles } from '../proxy/trust-files.ts'
import { cacheRoom } from './cache-options.ts'
import { limitsOf } from './client-options.ts'
import type { NodeConfig } from './config.ts'

/** Makes changed settings count in a node that runs. */

export interface ChangeParts {
  registries: Map<RegistryHost, RegistryClient>
  surroundings: RegistrySurroundings
  client: Pick<Client, 'limits' | 'registriesChanged' | 'cache'>
  authority: ProxyAuthority
  trust: Pick<TrustFiles, 'changePlaces' | 'put'>
  proxy: Pick<RunningProxy, 'authorityChanged' | 'change'>
  conditions: Conditions
  log: Logger
  /** The registry is no longer served; transfers that run still use it. */
  onRemoved(registry: RegistryClient): void
}

/**
 * Reads every file that the settings name. @returns what makes them count
 * @throws ShoalError for a file that cannot be used; nothing is changed then
 */
export async function prepareSettings(
  parts: ChangeParts,
  before: NodeConfig,
  after: NodeConfig,
): Promise<() => Promise<void>> {
  const room = cacheRoom(after)
  const limits = limitsOf(after)
  const changeRegistries = prepareRegistries(parts, before, after)
  return async () => {
    await changeRegistries()
    const { p2pMinBytes, permitLinkLocal, permittedTargets } = after
    parts.proxy.change({ p2pMinBytes, permitLinkLocal, permittedTargets })
    parts.client.limits.change(limits)
    parts.client.cache.resize(room)
    changeLogLevel(parts.log, after.logLevel)
  }
}

function prepareRegistries(parts: ChangeParts, before: NodeConfig, after: NodeConfig): () => Promise<void> {
  const { registries, surroundings, client, authority, trust, proxy, conditions } = parts
  for (const { tokenKeysFile } of after.registries)
    if (tokenKeysFile !== undefined) readTokenKeys(tokenKeysFile)
  const wanted = new Set(after.registries.map(({ host }) => host))
  const removed = before.registries.map(({ host }) => host).filter((host) => !wanted.has(host))
  const changes = after.registries.flatMap((config) => registries.get(config.host)?.prepare(config) ?? [])
  const added = after.registries.filter(({ host }) => !registries.has(host))
  const opened = openRegistries(added, surroundings)
  return async () => {
    await authority.cover([...opened.keys()])
    for (const change of changes) change()
    for (const host of removed) {
      const registry = registries.get(host)
      registries.delete(host)
      for (const code of CONDITION_CODES) conditions.clear(code, host)
      if (registry !== undefined) parts.onRemoved(registry)
    }
    for (const [host, registry] of opened) {
      registry.habits.reportTo(conditions)
      registries.set(host, registry)
    }
    noteRegistries(registries, conditions)
    client.registriesChanged()
    if (opened.size === 0 && removed.length === 0) return
    trust.changePlaces({ registries: registries.keys() })
    trust.put(authority.certificatesPem)
    proxy.authorityChanged()
  }
}

export function noteRegistries(
  registries: ReadonlyMap<RegistryHost, RegistryClient>,
  conditions: Conditions,
): void {
  if (registries.size === 0) conditions.raise('NO_REGISTRIES')
  else conditions.clear('NO_REGISTRIES')
  if (registries.has(DOCKER_HUB)) conditions.raise('DOCKER_HUB_NEEDS_MIRROR')
  else conditions.clear('DOCKER_HUB_NEEDS_MIRROR')
}
