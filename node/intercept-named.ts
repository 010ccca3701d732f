import type { Client } from '../client/index.ts'
import type { Conditions } from '../core/conditions.ts'
import { openRegistries, type RegistryClient, type RegistrySurroundings } from '../core/registry-client.ts'
import { registryConfig } from '../core/registry-config.ts'
import type { RegistryHost } from '../core/repository.ts'

/** Adds the registries that the tracker names, with this node's consent: only hosts and paths come from there. */
export function interceptNamed({
  registries,
  surroundings,
  client,
  conditions,
}: {
  registries: Map<RegistryHost, RegistryClient>
  surroundings: RegistrySurroundings
  client: Client
  conditions: Conditions
}): void {
  const added = client.registriesNamed().filter(({ host }) => !registries.has(host))
  const configs = added.map(({ host, apiPath }) => registryConfig.parse({ host, apiPath }))
  for (const [host, registry] of openRegistries(configs, surroundings)) {
    registries.set(host, registry)
    conditions.raise('REGISTRIES_FROM_TRACKER', host)
  }
  client.registriesChanged()
}
