import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import type { RegistriesNews } from '../../core/registries-api.ts'
import type { RegistryClients } from '../../core/registry-client.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { VerifiedCredential } from './credential.ts'

const KIND_OF = { signed: 'token', introspected: 'introspect', stranger: 'open' } as const
type Kind = (typeof KIND_OF)[VerifiedCredential['standing']] | 'none'

/**
 * How the callers of each registry turned out to authenticate, from granted pulls. For people: each pull is judged by
 * itself. Bounded by the configured registries.
 */
export class KindsFound {
  readonly #registries: RegistryClients
  readonly #log: Logger
  readonly #found = new Map<RegistryHost, Set<Kind>>()
  #news: RegistriesNews

  constructor(registries: RegistryClients, log: Logger) {
    this.#registries = registries
    this.#log = log
    this.#news = this.#compose()
  }

  note(registry: RegistryHost, standing: VerifiedCredential['standing']): void {
    const kinds = this.#found.get(registry) ?? new Set()
    this.#found.set(registry, kinds)
    const kind = KIND_OF[standing]
    if (kinds.has(kind)) return
    kinds.add(kind)
    this.#news = this.#compose()
    this.#log.info({ registry, kind }, 'found how a registry recognises callers')
  }

  /** What nodes hear of the registries. The version changes whenever anything in it does. */
  get news(): RegistriesNews {
    return this.#news
  }

  #compose(): RegistriesNews {
    const list = [...this.#registries.values()].map(
      ({ host, config: { apiPath, kind, issuer, audience } }) => ({
        host,
        ...(apiPath === undefined ? {} : { apiPath }),
        kinds: kind === 'none' ? ['none'] : [...(this.#found.get(host) ?? [])].sort(),
        ...(issuer === undefined ? {} : { issuer }),
        ...(audience === undefined ? {} : { audience }),
      }),
    )
    return { version: createHash('sha256').update(JSON.stringify(list)).digest('base64url'), list }
  }
}
