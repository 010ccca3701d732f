import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { readOwnFile, replaceFile } from './data-folder.ts'
import type { RegistryClients } from './registry-client.ts'
import { REGISTRIES_MAX } from './registry-config.ts'
import type { RegistryHost } from './repository.ts'
import { registryHostSchema } from './tracker-api.ts'

/** In the data folder: hosts, as a JSON array. */
export const CREDENTIALS_SEEN_FILE = 'credentials-seen.json'

const fileSchema = z.array(registryHostSchema).max(REGISTRIES_MAX)

/**
 * Registries that somebody sent a credential to. A client sends one only when it was asked to, so such a registry is
 * not open, whatever the configuration says. Invariant: only grows, and only by
 * configured registries of kind `none`; outlives a restart.
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

  /** Whether pulls from the registry need no credential: so configured, and none was ever seen. */
  isOpen(registry: RegistryHost): boolean {
    return this.#registries.get(registry)?.kind === 'none' && !this.#hosts.has(registry)
  }

  /** Somebody sent the registry a credential. Only of interest when it is configured as open. */
  note(registry: RegistryHost): void {
    if (!this.isOpen(registry)) return
    this.#hosts.add(registry)
    const facts = { code: 'REGISTRY_NOT_OPEN', registry }
    this.#log.error(
      facts,
      'a registry of kind none is sent credentials; it is not shared until its kind is right',
    )
    try {
      replaceFile(this.#path, JSON.stringify([...this.#hosts]))
    } catch (error) {
      this.#log.error({ ...facts, err: error }, 'what was seen is remembered until this process ends only')
    }
  }

  /** A file that cannot be read says nothing about any registry, so none is taken for open. */
  #read(): Set<RegistryHost> {
    try {
      const text = readOwnFile(this.#path)
      return new Set(text === undefined ? [] : fileSchema.parse(JSON.parse(text)))
    } catch (error) {
      this.#log.error(
        { err: error, path: this.#path },
        'the list of registries with credentials cannot be read',
      )
      return new Set(this.#registries.keys())
    }
  }
}
