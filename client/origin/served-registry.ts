import type { RegistryClient, RegistryClients } from '../../core/registry-client.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { BlobUnavailableError } from '../errors.ts'

/** @throws BlobUnavailableError if the registry was removed from the settings: kept connections still ask for its blobs */
export function servedRegistry(
  registries: RegistryClients,
  { registry }: { registry: RegistryHost },
): RegistryClient {
  const found = registries.get(registry)
  if (found === undefined) throw new BlobUnavailableError(`${registry} is not shared here any more`)
  return found
}
