import type { IncomingMessage } from 'node:http'
import { type Digest, isDigest } from '../core/digest.ts'
import { parseRepositoryPath, type Repository } from '../core/repository.ts'
import { type Credential, credentialSchema } from '../core/tracker-api.ts'
import { hasBody } from './upstream/forward.ts'

/** A GET for a blob (OCI distribution-spec, "Pulling blobs") that Shoal may answer. */
export interface BlobGet {
  repository: Repository
  digest: Digest
  credential: Credential
  /** The Authorization header as received; undefined if there is none. */
  authorization: string | undefined
  /** The query as received, with its `?`; empty if there is none. */
  query: string
}

/**
 * containerd names the registry that a mirror stands for. The registry may answer by it, so it goes along with every
 * question about the caller's rights.
 */
const NAMESPACE_QUERY = /^\?ns=[A-Za-z0-9.:_-]{1,255}$/
/** Fields that make an answer depend on more than the blob (RFC 9110 §13.1); pulling clients send none of them. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'] as const

/**
 * Reads a request to a registry as a blob GET. Strict: the registry answers every request that is encoded, conditional or odd in any
 * way, so that no spelling of a path can mean one thing here and another there.
 * @returns undefined if it is not a blob GET
 */
export function readBlobGet(request: IncomingMessage, apiPath?: string): BlobGet | undefined {
  const found = readRepositoryPath(request.url ?? '', 'blobs/([^/?]+)', apiPath)
  const digest = found?.groups[0] ?? ''
  if (request.method !== 'GET' || found === undefined || !isDigest(digest)) return undefined
  if (CONDITIONS.some((name) => request.headers[name] !== undefined) || hasBody(request)) return undefined
  const credential = readCredential(request)
  if (credential === undefined) return undefined
  const { repository, query } = found
  return { repository, digest, credential, authorization: request.headers.authorization, query }
}

/**
 * Reads the path of something in a repository, below `/v2/` or below the path of an API and `/v2/`.
 * @param rest what follows the repository's name, as a regular expression with groups
 * @returns undefined if it is something else, or has any other query than `ns`
 */
export function readRepositoryPath(
  url: string,
  rest: string,
  apiPath?: string,
): { repository: Repository; groups: string[]; query: string } | undefined {
  const at = url.indexOf('?')
  const query = at === -1 ? '' : url.slice(at)
  if (query !== '' && !NAMESPACE_QUERY.test(query)) return undefined
  const found = parseRepositoryPath(at === -1 ? url : url.slice(0, at), rest, apiPath)
  return found && { ...found, query }
}

/**
 * The credential of a request.
 * @returns undefined if Shoal does not understand it: another scheme, or several credentials
 */
export function readCredential(request: IncomingMessage): Credential | undefined {
  const fields = request.headersDistinct.authorization ?? []
  if (fields.length === 0) return { scheme: 'none' }
  const [, scheme = '', value = ''] = /^([A-Za-z]+) +([^\s,]+)$/.exec(fields[0]!) ?? []
  const isBearer = scheme.toLowerCase() === 'bearer'
  if (fields.length > 1 || (!isBearer && scheme.toLowerCase() !== 'basic')) return undefined
  const credential = isBearer ? { scheme: 'bearer', token: value } : { scheme: 'basic', value }
  return credentialSchema.safeParse(credential).data
}
