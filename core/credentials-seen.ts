import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { BlobHeadRequest } from './blob-question.ts'
import { readOwnFile, replaceFile } from './data-folder.ts'
import { registryHostSchema } from './registries-api.ts'
import type { RegistryClient, RegistryClients } from './registry-client.ts'
import { REGISTRIES_MAX } from './registry-config.ts'
import type { RegistryHost } from './repository.ts'
import { asksForCredentials } from './strangers.ts'

/** A file in the data folder with hosts as a JSON array. */
export const CREDENTIALS_SEEN_FILE = 'credentials-seen.json'

const fileSchema = z.array(registryHostSchema).max(REGISTRIES_MAX)

export interface CredentialsSeenOptions {
  registries: RegistryClients
  dataDir: string
  log: Pick<Logger, 'error'>
  /** Called once for each registry that is configured as open and is not, also if an earlier run found it (REGISTRY_NOT_OPEN). */
  onNotOpen: (registry: RegistryHost) => void
}

/**
 * Registries of kind `none` that asked for a credential. Such a registry is not open, whatever the configuration says:
 * from then on it is judged per pull, like any other. A caller who sends a needless credential changes nothing. Invariant:
 * the list only grows, has only configured registries of kind `none`, and outlives a restart.
 */
export class CredentialsSeen {
  readonly #registries: RegistryClients
  readonly #path: string
  readonly #log: Pick<Logger, 'error'>
  readonly #onNotOpen: (registry: RegistryHost) => void
  readonly #hosts: Set<RegistryHost>

  constructor({ registries, dataDir, log, onNotOpen }: CredentialsSeenOptions) {
    this.#registries = registries
    this.#path = join(dataDir, CREDENTIALS_SEEN_FILE)
    this.#log = log
    this.#onNotOpen = onNotOpen
    this.#hosts = this.#read()
    for (const host of this.#hosts) if (registries.get(host)?.kind === 'none') onNotOpen(host)
  }

  /** Whether pulls from the registry need no credential: it is configured so, and never asked for one. */
  isOpen(registry: RegistryHost): boolean {
    return this.#registries.get(registry)?.kind === 'none' && !this.#hosts.has(registry)
  }

  /** The registry asked a stranger for a credential. This matters only if it is configured as open. */
  note(registry: RegistryHost): void {
    if (!this.isOpen(registry)) return
    this.#hosts.add(registry)
    this.#onNotOpen(registry)
    try {
      replaceFile(this.#path, JSON.stringify([...this.#hosts]))
    } catch (error) {
      this.#log.error(
        { err: error, registry },
        'cannot write the list of registries that ask for credentials; it is lost when this process ends',
      )
    }
  }

  /** A caller sent a credential. For a registry that is configured as open it is needless, or the registry is not open: asks it. */
  async check(registry: RegistryClient, blob: Pick<BlobHeadRequest, 'repository' | 'digest'>): Promise<void> {
    if (this.isOpen(registry.host) && (await asksForCredentials(registry, blob))) this.note(registry.host)
  }

  /** If the file cannot be read, no registry counts as open. */
  #read(): Set<RegistryHost> {
    try {
      const text = readOwnFile(this.#path)
      return new Set(text === undefined ? [] : fileSchema.parse(JSON.parse(text)))
    } catch (error) {
      this.#log.error(
        { err: error, path: this.#path },
        'cannot read the list of registries that ask for credentials',
      )
      return new Set(this.#registries.keys())
    }
  }
}
