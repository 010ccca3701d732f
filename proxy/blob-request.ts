import type { IncomingMessage } from 'node:http'
import { type Digest, isDigest } from '../core/digest.ts'
import { isRepository, type Repository } from '../core/repository.ts'
import { type Credential, credentialSchema } from '../core/tracker-api.ts'
import { hasBody } from './upstream/forward.ts'

/** A GET for a blob (OCI distribution-spec, "Pulling blobs") that Shoal may answer. */
export interface BlobGet {
  repository: Repository
  digest: Digest
  credential: Credential
  /** The Authorization header as received; undefined if there is none. */
  authorization: string | undefined
}

const BLOB_PATH = /^\/v2\/(.+)\/blobs\/([^/]+)$/
/** Fields that make an answer depend on more than the blob (RFC 9110 §13.1); pulling clients send none of them. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'] as const

/**
 * Reads a request as a blob GET. Strict: the registry answers every request that is encoded, conditional or odd in any
 * way, so that no spelling of a path can mean one thing here and another there.
 * @returns undefined if it is not a blob GET
 */
export function readBlobGet(request: IncomingMessage): BlobGet | undefined {
  const [, repository = '', digest = ''] = BLOB_PATH.exec(request.url ?? '') ?? []
  if (request.method !== 'GET' || !isRepository(repository) || !isDigest(digest)) return undefined
  if (CONDITIONS.some((name) => request.headers[name] !== undefined) || hasBody(request)) return undefined
  const credential = readCredential(request)
  if (credential === undefined) return undefined
  return { repository, digest, credential, authorization: request.headers.authorization }
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
