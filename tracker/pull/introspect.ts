import type { Digest } from '../../core/digest.ts'
import { type BlobHead, type RegistryClient, RegistryUnreachableError } from '../../core/registry-client.ts'
import type { Repository } from '../../core/repository.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { RefusedError } from '../errors.ts'

/** As for token keys: a caller cannot make us send the registry a request for each of its blobs. */
const ASKED_BLOBS_MAX = 3

export interface Introspection {
  registry: RegistryClient
  repository: Repository
  credential: Exclude<Credential, { scheme: 'none' }>
  /** Blobs of the repository, as the caller says. */
  digests: readonly Digest[]
}

/**
 * Asks the registry whether the credential may read from the repository. Nothing is remembered: every pull asks anew.
 * The registry must also refuse who has no credential, or a wrong token: what it serves to everybody proves nothing.
 * Wrong passwords are not tried, because registries lock accounts for them.
 * @returns the Authorization header that the registry accepted
 * @throws RefusedError REGISTRY_REFUSED, BLOB_NOT_IN_REPOSITORY, CREDENTIAL_UNPROVEN, REGISTRY_UNREACHABLE
 */
export async function introspect({
  registry,
  repository,
  credential,
  digests,
}: Introspection): Promise<string> {
  const isBearer = credential.scheme === 'bearer'
  const authorization = isBearer ? `Bearer ${credential.token}` : `Basic ${credential.value}`
  const ask = (digest: Digest, header?: string) =>
    headOf(registry, { repository, digest, authorization: header })
  const digest = await acceptedBlob(digests, (candidate) => ask(candidate, authorization))
  if (digest === undefined) {
    throw new RefusedError('BLOB_NOT_IN_REPOSITORY', `none of the blobs asked about is in ${repository}`)
  }
  const strangers = isBearer ? [undefined, `Bearer ${altered(credential.token)}`] : [undefined]
  for (const stranger of strangers) {
    const head = await ask(digest, stranger)
    if (head.isPresent || (head.status !== 401 && head.status !== 403)) {
      throw new RefusedError(
        'CREDENTIAL_UNPROVEN',
        'the registry does not refuse strangers what was asked for',
      )
    }
  }
  return authorization
}

/**
 * Whether the registry asks for a credential where it is shown none. A registry that cannot be asked has not done so.
 */
export async function refusesStrangers({
  registry,
  repository,
  digests,
}: Omit<Introspection, 'credential'>): Promise<boolean> {
  const [digest] = digests
  if (digest === undefined) return false
  const head = await registry
    .headBlob({ repository, digest, authorization: undefined })
    .catch((error: unknown) => {
      if (!(error instanceof RegistryUnreachableError)) throw error
      return undefined
    })
  return head !== undefined && !head.isPresent && (head.status === 401 || head.status === 403)
}

/** The first of the blobs that the registry serves; undefined when it knows none of them. */
async function acceptedBlob(
  digests: readonly Digest[],
  ask: (digest: Digest) => Promise<BlobHead>,
): Promise<Digest | undefined> {
  for (const digest of digests.slice(0, ASKED_BLOBS_MAX)) {
    const head = await ask(digest)
    if (head.isPresent) return digest
    if (head.status !== 404)
      throw new RefusedError('REGISTRY_REFUSED', `the registry answered ${head.status}`)
  }
  return undefined
}

async function headOf(
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

/** Another token of the same length. The middle is changed: last characters can be padding that nobody compares. */
function altered(token: string): string {
  const middle = Math.floor(token.length / 2)
  return `${token.slice(0, middle)}${token[middle] === 'A' ? 'B' : 'A'}${token.slice(middle + 1)}`
}
