import type { BlobHead } from '../../core/blob-question.ts'
import { type RegistryClient, RegistryUnreachableError } from '../../core/registry-client.ts'
import { RefusedError } from '../errors.ts'

/**
 * Asks the registry about a blob, unless it told the tracker to wait.
 * @throws RefusedError REGISTRY_LIMITED after a 429, without a request until `Retry-After` is over; REGISTRY_UNREACHABLE when
 *   there is no answer, or one that says nothing about the blob (5xx)
 */
export async function headOf(
  registry: RegistryClient,
  request: Parameters<RegistryClient['headBlob']>[0],
): Promise<BlobHead> {
  expectUnlimited(registry, request.authorization)
  const head = await registry.headBlob(request).catch((cause: unknown) => {
    if (!(cause instanceof RegistryUnreachableError)) throw cause
    throw new RefusedError('REGISTRY_UNREACHABLE', cause.message, { cause })
  })
  if (!head.isPresent && head.status === 429) throw limited(registry)
  if (!head.isPresent && head.status >= 500)
    throw new RefusedError('REGISTRY_UNREACHABLE', `the registry answered ${head.status}`)
  return head
}

/** @throws RefusedError REGISTRY_LIMITED */
export function expectUnlimited(registry: RegistryClient, authorization: string | undefined): void {
  if (registry.limit.leftMs(authorization) > 0) throw limited(registry)
}

export function limited({ host }: RegistryClient): RefusedError {
  return new RefusedError('REGISTRY_LIMITED', `the registry ${host} told the tracker to wait (429)`)
}
