import type { BlobHead } from '../../core/blob-question.ts'
import { type RegistryClient, RegistryUnreachableError } from '../../core/registry-client.ts'
import { RefusedError } from '../errors.ts'

/** @throws RefusedError REGISTRY_UNREACHABLE when there is no answer, or one that says nothing about the blob (5xx) */
export async function headOf(
  registry: RegistryClient,
  request: Parameters<RegistryClient['headBlob']>[0],
): Promise<BlobHead> {
  const head = await registry.headBlob(request).catch((cause: unknown) => {
    if (!(cause instanceof RegistryUnreachableError)) throw cause
    throw new RefusedError('REGISTRY_UNREACHABLE', cause.message, { cause })
  })
  if (!head.isPresent && head.status >= 500)
    throw new RefusedError('REGISTRY_UNREACHABLE', `the registry answered ${head.status}`)
  return head
}
