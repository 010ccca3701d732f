import type { ServerResponse } from 'node:http'
import type { Client } from '../client/index.ts'
import { type BlobHead, type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import type { BlobGet } from './blob-request.ts'
import { goneSignal } from './upstream/forward.ts'

/** How the proxy learns whether a caller may have a blob: docs/a-pull.md, section 3, step 3. */

export interface AuthoriseParts {
  client: Client
  strangers: Strangers
}

interface Exchange {
  response: ServerResponse
  registry: RegistryClient
}

/** Whether a request may have its blob, and the blob's length if the registry gave it. */
export type Authorised =
  | { refusal?: undefined; byRegistry: boolean; bytes: number | undefined }
  | { refusal: 'registry_refused' | 'registry_unproven' | 'registry_busy' }

/**
 * Asks the registry whether it would serve the blob to this very request. Only that counts, whatever this node holds.
 * @throws RegistryUnreachableError if there is no answer and the client does not vouch
 */
export async function authorise(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: BlobGet,
): Promise<Authorised> {
  const { repository, digest, authorization } = wanted
  try {
    const signal = goneSignal(exchange.response)
    const head = await exchange.registry.headBlob({ repository, digest, authorization, signal })
    if (head.isPresent) {
      const isLeave = await showsLeave(parts, exchange, wanted, head)
      return isLeave ? { byRegistry: true, bytes: head.bytes } : { refusal: 'registry_unproven' }
    }
    const standing = head.status >= 500 ? await authoriseWithoutRegistry(parts, exchange, wanted) : undefined
    return standing ?? { refusal: 'registry_refused' }
  } catch (error) {
    if (!(error instanceof RegistryUnreachableError)) throw error
    // A user who fills our own connections must not make the registry seem to be down.
    if (!error.wasAsked) return { refusal: 'registry_busy' }
    const standing = await authoriseWithoutRegistry(parts, exchange, wanted)
    if (standing === undefined) throw error
    return standing
  }
}

/**
 * Whether the answer is for this caller alone. An answer with a length is: the length is part of the swarm's name, so a
 * page that answers 200 to everybody leads to no blob. A redirect, or a 200 without length, may be such a page.
 */
async function showsLeave(
  { strangers }: AuthoriseParts,
  { registry }: Exchange,
  { repository, digest, authorization }: BlobGet,
  { bytes }: BlobHead & { isPresent: true },
): Promise<boolean> {
  if (bytes !== undefined || registry.kind === 'none') return true
  return authorization !== undefined && strangers.areRefused(registry, { repository, digest })
}

/** Asks the client to vouch if the registry does not answer. */
async function authoriseWithoutRegistry(
  { client }: AuthoriseParts,
  { registry }: Exchange,
  { repository, digest, credential }: BlobGet,
): Promise<Authorised | undefined> {
  const bytes = await client.authorisedWithoutRegistry({
    registry: registry.host,
    repository,
    digest,
    credential,
  })
  return bytes === undefined ? undefined : { byRegistry: false, bytes }
}
