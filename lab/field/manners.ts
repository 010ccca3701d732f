import type { Account } from '../registry/registry.ts'

/**
 * Descriptions of registries that are not like Debian's, as data: the lab starts one program that behaves as all of them
 * at once, each under its own name.
 */

/** Which requests a manner is for; a field that is absent does not matter. */
export interface Occasion {
  method?: 'GET' | 'HEAD'
  /** `layers`: blobs but for the config. */
  of?: 'manifests' | 'blobs' | 'layers'
  isRanged?: boolean
}

/** How the requests of an occasion are answered. The manners of all that fit are joined; later ones win. */
export interface Manner {
  on?: Occasion
  /** Nothing is answered for so long. */
  waitMs?: number
  /** Answers with this status and an error instead. */
  status?: number
  redirect?: Redirect
  /** Of a HEAD: the length that it tells. */
  length?: 'none' | 'zero' | 'half'
  /** The whole blob for any range, or so many bytes of it at most. */
  range?: 'ignored' | { bytesMax: number }
  /** Sent in pieces of `bytes`, with this pause after each. */
  pace?: { bytes: number; pauseMs: number }
  headers?: Record<string, string>
  mediaType?: string
  /** Compresses for whoever accepts it. */
  isGzipped?: boolean
  /** An interim answer 103 (RFC 8297) before the answer. */
  hasEarlyHints?: boolean
  /**
   * Written without an HTTP library: `http10` ends a body by closing and tells no length, `no-reason` has odd but legal
   * spellings, `length-and-chunked` sends both headers of RFC 9112 section 6.3.
   */
  spelling?: 'http10' | 'no-reason' | 'length-and-chunked'
}

export interface Redirect {
  status: 302 | 307
  /** `https://host[:port]`; '' for a relative Location. */
  origin: string
  /** `same`: the path that was asked for. `signed`: a path outside the API that needs no credential. */
  path: 'same' | 'signed'
  /** Length of the signature in the query. */
  signatureBytes?: number
}

export interface Authentication {
  kind: 'jwt' | 'opaque' | 'basic'
  /** Absent: whoever asks gets a token. */
  account?: Account
  tokenSeconds?: number
  /** The token is at least so long. */
  tokenBytes?: number
  /** Rights in so many other repositories come first in the token. */
  otherRights?: number
  /** The token names no right; any valid token may pull. */
  hasEmptyAccess?: boolean
  /** How the token names its key; default `jwk`. */
  keyHeader?: 'jwk' | 'kid'
  /** Members in the claims that GitLab adds. */
  isGitlab?: boolean
  /** What a forged token gets: 401, 403, or what callers without a token get in a public project: the blob. */
  forged?: 'refused' | 'forbidden' | 'welcome'
  /** More challenges than the one for tokens. */
  otherChallenges?: string[]
}

/** Requests of one address. */
export interface Limits {
  /** 429 with Retry-After above it. */
  requests?: { max: number; windowMs: number }
  /** 503 above it. */
  connectionsMax?: number
}

export interface OddRegistry {
  /** DNS name. */
  name: string
  /** Default 443. */
  port?: number
  /** HTTP without TLS. */
  isPlain?: boolean
  /** In image names, where it differs from `name`. */
  imageHost?: string
  /** Absent: everybody may pull. */
  authentication?: Authentication
  /** The API lies below this path. */
  prefix?: string
  manners?: Manner[]
  limits?: Limits
  /** Whom clients are told to trust; default the lab's authority. `client-certificate` also asks for one. */
  trust?: 'issuing-authority' | 'leaf' | 'self-signed' | 'client-certificate'
  /** Nodes have its authority in Docker's folder only, and not in their own configuration. */
  isInDockersTrustOnly?: boolean
  /** Kind in Shoal's configuration; `unlisted`: not a registry of Shoal's. Default: by `authentication`. */
  kind?: 'token' | 'introspect' | 'none' | 'unlisted'
}

/** The registry as in image names and in Shoal's configuration. */
export function hostOf({ name, port, imageHost }: OddRegistry): string {
  return imageHost ?? (port === undefined ? name : `${name}:${port}`)
}

export function kindOf({ authentication, kind }: OddRegistry): NonNullable<OddRegistry['kind']> {
  if (kind !== undefined) return kind
  if (authentication === undefined) return 'none'
  return authentication.kind === 'jwt' ? 'token' : 'introspect'
}

export interface Asked {
  method: string
  kind: 'manifest' | 'layer' | 'config' | 'other'
  isRanged: boolean
}

/** The manner in which a request is answered. */
export function mannerFor(manners: readonly Manner[], asked: Asked): Manner {
  return Object.assign({}, ...manners.filter(({ on }) => fits(on ?? {}, asked)))
}

function fits({ method, of, isRanged }: Occasion, asked: Asked): boolean {
  if (method !== undefined && method !== asked.method) return false
  if (isRanged !== undefined && isRanged !== asked.isRanged) return false
  if (of === 'manifests') return asked.kind === 'manifest'
  if (of === 'layers') return asked.kind === 'layer'
  return of === undefined || asked.kind === 'layer' || asked.kind === 'config'
}
