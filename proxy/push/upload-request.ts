import type { IncomingMessage } from 'node:http'
import { type Digest, isDigest } from '../../core/digest.ts'
import {
  parseRegistryHost,
  parseRepositoryPath,
  type RegistryHost,
  type Repository,
} from '../../core/repository.ts'

/**
 * Reads the requests and answers of a push (OCI distribution-spec, "Pushing a blob in chunks", "Mounting a blob"). Pure. What
 * is written in a way that nobody expects is no upload for us, and passes like everything else.
 */

/** `POST /v2/<name>/blobs/uploads/`: begins an upload, mounts a blob, or sends one in a single request. */
export interface UploadBegin {
  repository: Repository
  /** The blob of another repository to take. */
  mount: Digest | undefined
  /** The body is the blob. */
  digest: Digest | undefined
}

export function readUploadBegin(
  { method, url = '' }: Pick<IncomingMessage, 'method' | 'url'>,
  apiPath?: string,
): UploadBegin | undefined {
  if (method !== 'POST') return undefined
  const { path, query } = partsOf(url)
  const found = parseRepositoryPath(path, 'blobs/uploads/?', apiPath)
  if (found === undefined) return undefined
  return { repository: found.repository, mount: digestIn(query, 'mount'), digest: digestIn(query, 'digest') }
}

/** The `digest` that a PUT closes its upload with. */
export function closingDigest(url: string): Digest | undefined {
  return digestIn(partsOf(url).query, 'digest')
}

/**
 * What names an upload: the path as written and the state in the query, in any order, without the digest. Clients append the
 * digest to the query of the last `Location`, and write the rest of it anew.
 */
export function uploadKey(url: string): string {
  const { path, query } = partsOf(url)
  const state = [...query].filter(([name]) => name !== 'digest')
  return JSON.stringify([path, ...state.map((pair) => pair.join('=')).sort()])
}

/**
 * The target of the next request, from an answer's `Location` (RFC 9110 §10.2.2).
 * @returns undefined if it is at another host: then this proxy does not see the upload
 */
export function nextTarget(location: unknown, url: string, registry: RegistryHost): string | undefined {
  if (typeof location !== 'string') return undefined
  try {
    const next = new URL(location, `https://${registry}${url}`)
    // Where TLS ends before the registry, it may take itself for a server of plain HTTP. Clients go where they came from.
    const isSame = parseRegistryHost(next.host) === registry || next.hostname === hostOf(registry)
    return isSame ? next.pathname + next.search : undefined
  } catch {
    return undefined
  }
}

/** `Content-Range: <first>-<last>` of a chunk; undefined if it has none that can be read. */
export function chunkStart(contentRange: unknown): number | undefined {
  const [, first] = /^(?:bytes[ =])?(\d{1,15})-\d{1,15}(?:\/.*)?$/.exec(String(contentRange ?? '')) ?? []
  return first === undefined ? undefined : Number(first)
}

/** `Range: 0-<last>` of an answer: so many bytes the registry has. `0-0` is what registries say of none. */
export function bytesTaken(range: unknown): number | undefined {
  const [, last] = /^(?:bytes=)?0-(\d{1,15})$/.exec(String(range ?? '')) ?? []
  if (last === undefined) return undefined
  return last === '0' ? 0 : Number(last) + 1
}

function hostOf(registry: RegistryHost): string {
  return registry.replace(/:\d+$/, '')
}

function partsOf(url: string): { path: string; query: URLSearchParams } {
  const at = url.indexOf('?')
  return {
    path: at === -1 ? url : url.slice(0, at),
    query: new URLSearchParams(at === -1 ? '' : url.slice(at)),
  }
}

function digestIn(query: URLSearchParams, name: string): Digest | undefined {
  const [value = '', ...others] = query.getAll(name)
  return others.length === 0 && isDigest(value) ? value : undefined
}
