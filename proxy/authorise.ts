import type { ServerResponse } from 'node:http'
import type { Client } from '../client/index.ts'
import { type BlobHead, type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import type { Authorised } from './authorised.ts'
import type { BlobGet } from './blob-request.ts'
import { goneSignal } from './upstream/forward.ts'

/** How the proxy learns whether a caller may have a blob: docs/a-pull.md, section 3, step 3. */

export interface AuthoriseParts {
  client: Client
  strangers: Strangers
  authorised: Authorised<Authorisation>
}

interface Exchange {
  response: ServerResponse
  registry: RegistryClient
}

/**
 * Whether a request may have its blob, and the blob's length if the registry gave it. `acceptedAtMs`: when the registry
 * itself accepted the request; undefined if the client vouches for it.
 */
export type Authorisation =
  | { refusal?: undefined; acceptedAtMs: number | undefined; bytes: number | undefined }
  | { refusal: 'registry_refused' | 'registry_unproven' | 'registry_busy' }

/**
 * Asks the registry whether it would serve the blob to this very request, once a minute. Only that counts, whatever this
 * node holds.
 * @throws RegistryUnreachableError if there is no answer and the client does not vouch
 */
export async function authorise(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: BlobGet,
): Promise<Authorisation> {
  const { registry, response } = exchange
  const known = parts.authorised.find(registry.host, wanted)
  if (known !== undefined) return { acceptedAtMs: known.atMs, bytes: known.bytes }
  try {
    const ask = (signal: AbortSignal) => askRegistry(parts, exchange, wanted, signal)
    return await parts.authorised.share(registry.host, wanted, { ask, signal: goneSignal(response) })
  } catch (error) {
    if (!(error instanceof RegistryUnreachableError)) throw error
    // A user who fills our own connections must not make the registry seem to be down.
    if (!error.wasAsked) return { refusal: 'registry_busy' }
    const standing = await authoriseWithoutRegistry(parts, exchange, wanted)
    if (standing === undefined) throw error
    return standing
  }
}

async function askRegistry(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: BlobGet,
  signal: AbortSignal,
): Promise<Authorisation> {
  const { repository, digest, authorization } = wanted
  const head = await exchange.registry.headBlob({ repository, digest, authorization, signal })
  if (head.isPresent) {
    if (!(await showsLeave(parts, exchange, wanted, head))) return { refusal: 'registry_unproven' }
    parts.authorised.note(exchange.registry.host, wanted, head)
    return { acceptedAtMs: Date.now(), bytes: head.bytes }
  }
  const standing = head.status >= 500 ? await authoriseWithoutRegistry(parts, exchange, wanted) : undefined
  return standing ?? { refusal: 'registry_refused' }
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
): Promise<Authorisation | undefined> {
  const bytes = await client.authorisedWithoutRegistry({
    registry: registry.host,
    repository,
    digest,
    credential,
  })
  return bytes === undefined ? undefined : { acceptedAtMs: undefined, bytes }
}
