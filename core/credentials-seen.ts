import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { readOwnFile, replaceFile } from './data-folder.ts'
import type { RegistryClients } from './registry-client.ts'
import { REGISTRIES_MAX } from './registry-config.ts'
import type { RegistryHost } from './repository.ts'
import { registryHostSchema } from './tracker-api.ts'

/** A file in the data folder with hosts as a JSON array. */
export const CREDENTIALS_SEEN_FILE = 'credentials-seen.json'

const fileSchema = z.array(registryHostSchema).max(REGISTRIES_MAX)

/**
 * Registries to which somebody sent a credential. A client sends one only if the registry asked for it, so such a
 * registry is not open, whatever the configuration says. Invariant: the list only grows, has only
 * configured registries of kind `none`, and outlives a restart.
 */
export class CredentialsSeen {
  readonly #registries: RegistryClients
  readonly #path: string
  readonly #log: Pick<Logger, 'error'>
  readonly #hosts: Set<RegistryHost>

  constructor(options: { registries: RegistryClients; dataDir: string; log: Pick<Logger, 'error'> }) {
    this.#registries = options.registries
    this.#path = join(options.dataDir, CREDENTIALS_SEEN_FILE)
    this.#log = options.log
    this.#hosts = this.#read()
  }

  /** Whether pulls from the registry need no credential: it is configured so, and nobody ever sent one. */
  isOpen(registry: RegistryHost): boolean {
    return this.#registries.get(registry)?.kind === 'none' && !this.#hosts.has(registry)
  }

  /** Somebody sent the registry a credential. This matters only if it is configured as open. */
  note(registry: RegistryHost): void {
    if (!this.isOpen(registry)) return
    this.#hosts.add(registry)
    const facts = { code: 'REGISTRY_NOT_OPEN', registry }
    this.#log.error(
      facts,
      'a registry of kind none gets credentials; it is not shared until its kind is right',
    )
    try {
      replaceFile(this.#path, JSON.stringify([...this.#hosts]))
    } catch (error) {
      this.#log.error(
        { ...facts, err: error },
        'cannot write the list of registries with credentials; it is lost when this process ends',
      )
    }
  }

  /** If the file cannot be read, no registry counts as open. */
  #read(): Set<RegistryHost> {
    try {
      const text = readOwnFile(this.#path)
      return new Set(text === undefined ? [] : fileSchema.parse(JSON.parse(text)))
    } catch (error) {
      this.#log.error({ err: error, path: this.#path }, 'cannot read the list of registries with credentials')
      return new Set(this.#registries.keys())
    }
  }
}
