import type { X509Certificate } from 'node:crypto'
import { type Digest, digestFromHex, digestHex } from './digest.ts'
import { ShoalError } from './errors.ts'
import { type ClusterId, isClusterId, isNodeId, type NodeId } from './metainfo.ts'
import { parseRegistryHost, parseRepository, type RegistryHost, type Repository } from './repository.ts'

/**
 * The claims in certificates of a cluster's authority. They are SAN URIs `urn:shoal:<name>:<value>` with the value
 * percent-encoded. Blobs are dNSNames (the torrent's name: 64 hex digits).
 *
 * `node`: a node towards the tracker (clientAuth). `pull`: one pull's grant between peers (clientAuth, serverAuth).
 * `serve`: a node that only serves (serverAuth, dNSName `*`). `link`: either end of a link between two nodes (clientAuth,
 * serverAuth, dNSName `linkNameOf`); it opens no blob. The authority that verified the chain decides the holder's cluster;
 * the `cluster` claim is for people.
 */
export type CertificateClaims = NodeClaims | PullClaims | ServeClaims | LinkClaims

interface HolderClaims {
  cluster: ClusterId
  node: NodeId
}
export interface NodeClaims extends HolderClaims {
  kind: 'node'
}
export interface ServeClaims extends HolderClaims {
  kind: 'serve'
}
export interface LinkClaims extends HolderClaims {
  kind: 'link'
}
export interface PullClaims extends HolderClaims {
  kind: 'pull'
  pullId: string
  registry: RegistryHost
  repository: Repository
  /** When the tracker granted the pull; renewals keep it. Seconds since 1970. */
  grantedAtSeconds: number
  /** SHA-256 (64 hex digits) of the registry token's signing input; absent for registries of kind `none`. */
  tokenHash?: string
  blobs: Digest[]
}

/** Shoal does not issue certificates of this form: refuse the connection or request. */
export class CertificateClaimsError extends ShoalError {
  readonly code = 'CERTIFICATE_CLAIMS'
}

/** Bound of blobs per pull certificate: an OCI image has at most 127 layers and a config. */
export const CERTIFICATE_BLOBS_MAX = 128

const PREFIX = 'urn:shoal:'
const HEX64 = /^[0-9a-f]{64}$/

export interface SubjectAltNames {
  uris: string[]
  dnsNames: string[]
}

/**
 * A node's name in its link certificate, and the SNI of links to it. Stock clients look for a torrent's name or `*`, so it
 * opens none of theirs.
 */
export function linkNameOf(node: NodeId): string {
  return `${node}.node.shoal`
}

export function claimsToNames(claims: CertificateClaims): SubjectAltNames {
  const fields: [string, string][] = [
    ['kind', claims.kind],
    ['cluster', claims.cluster],
    ['node', claims.node],
  ]
  if (claims.kind === 'pull') {
    fields.push(['pull', claims.pullId], ['registry', claims.registry], ['repository', claims.repository])
    fields.push(['granted-at', String(claims.grantedAtSeconds)])
    if (claims.tokenHash !== undefined) fields.push(['token', claims.tokenHash])
  }
  return {
    uris: fields.map(([name, value]) => `${PREFIX}${name}:${encodeURIComponent(value)}`),
    dnsNames: dnsNamesOf(claims),
  }
}

function dnsNamesOf(claims: CertificateClaims): string[] {
  if (claims.kind === 'pull') return claims.blobs.map(digestHex)
  if (claims.kind === 'link') return [linkNameOf(claims.node)]
  return claims.kind === 'serve' ? ['*'] : []
}

/** @throws CertificateClaimsError if a claim is missing, repeated, unknown or malformed */
export function claimsFromNames(names: SubjectAltNames): CertificateClaims {
  const fields = uniqueFields(names.uris)
  const take = (name: string): string => {
    const value = fields.get(name)
    if (value === undefined) throw new CertificateClaimsError(`the certificate has no ${name} claim`)
    fields.delete(name)
    return value
  }
  const kind = take('kind')
  const cluster = take('cluster')
  const node = take('node')
  if (!isClusterId(cluster) || !isNodeId(node))
    throw new CertificateClaimsError('malformed cluster or node claim')
  let claims: CertificateClaims
  if (kind === 'pull') {
    claims = pullClaims({ cluster, node }, take, fields, names.dnsNames)
  } else if (kind === 'node' || kind === 'serve' || kind === 'link') {
    claims = { kind, cluster, node }
  } else {
    throw new CertificateClaimsError(`unknown kind of certificate: ${kind}`)
  }
  if (kind === 'link' && names.dnsNames.join() !== linkNameOf(node))
    throw new CertificateClaimsError('a link certificate with another name than its node')
  if (fields.size > 0) throw new CertificateClaimsError(`unexpected claims: ${[...fields.keys()].join(', ')}`)
  return claims
}

function pullClaims(
  holder: HolderClaims,
  take: (name: string) => string,
  fields: Map<string, string>,
  dnsNames: string[],
): PullClaims {
  const grantedAt = take('granted-at')
  const tokenHash = fields.has('token') ? take('token') : undefined
  if (!/^\d{1,12}$/.test(grantedAt) || (tokenHash !== undefined && !HEX64.test(tokenHash))) {
    throw new CertificateClaimsError('malformed grant time or token hash')
  }
  if (dnsNames.length > CERTIFICATE_BLOBS_MAX) throw new CertificateClaimsError('too many blobs')
  try {
    return {
      kind: 'pull',
      ...holder,
      pullId: take('pull'),
      registry: parseRegistryHost(take('registry')),
      repository: parseRepository(take('repository')),
      grantedAtSeconds: Number(grantedAt),
      ...(tokenHash === undefined ? {} : { tokenHash }),
      blobs: dnsNames.map(digestFromHex),
    }
  } catch (cause) {
    throw new CertificateClaimsError('malformed pull claims', { cause })
  }
}

function uniqueFields(uris: string[]): Map<string, string> {
  const fields = new Map<string, string>()
  for (const uri of uris) {
    const colon = uri.indexOf(':', PREFIX.length)
    if (!uri.startsWith(PREFIX) || colon < 0)
      throw new CertificateClaimsError('a URI that Shoal does not write')
    const name = uri.slice(PREFIX.length, colon)
    if (fields.has(name)) throw new CertificateClaimsError(`repeated claim: ${name}`)
    try {
      fields.set(name, decodeURIComponent(uri.slice(colon + 1)))
    } catch (cause) {
      throw new CertificateClaimsError(`malformed claim: ${name}`, { cause })
    }
  }
  return fields
}

/**
 * Reads the claims of a certificate whose chain is already verified.
 * @throws CertificateClaimsError
 */
export function claimsOf(certificate: X509Certificate): CertificateClaims {
  return claimsFromNames(splitSubjectAltName(certificate.subjectAltName ?? ''))
}

/** Node prints SANs as `DNS:a, URI:b`. It prints some values as JSON strings, but none that Shoal writes. */
function splitSubjectAltName(text: string): SubjectAltNames {
  const names: SubjectAltNames = { uris: [], dnsNames: [] }
  for (const entry of text === '' ? [] : text.split(', ')) {
    if (entry.startsWith('URI:')) names.uris.push(entry.slice('URI:'.length))
    else if (entry.startsWith('DNS:')) names.dnsNames.push(entry.slice('DNS:'.length))
    else throw new CertificateClaimsError('a subject alternative name that Shoal does not write')
  }
  return names
}
