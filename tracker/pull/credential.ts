import type { CredentialsSeen } from '../../core/credentials-seen.ts'
import type { Digest } from '../../core/digest.ts'
import { type RegistryClient, RegistryUnreachableError } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'
import {
  grantsPull,
  isSignedBy,
  isValidAt,
  parseRegistryToken,
  type RegistryToken,
} from '../../core/registry-token.ts'
import type { Repository } from '../../core/repository.ts'
import { asksForCredentials } from '../../core/strangers.ts'
import type { Credential } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { type RefusalCode, RefusedError } from '../errors.ts'
import type { Acceptances } from './acceptances.ts'
import type { Signer, TrustedKeys } from './trusted-keys.ts'

/** A credential that permits pulling from the repository now. Lives no longer than the request. */
export interface VerifiedCredential {
  /** Authorization header for the registry. */
  authorization: string | undefined
  /** '' where the registry has no subjects. */
  subject: string
  /** SHA-256 (hex) of the token's signing input; undefined if the credential is not a signed token. */
  tokenHash: string | undefined
  /** Thumbprint of the probed key that signed the token; null if the key is configured or missing. */
  tokenKey: string | null
  /** When the token ends, without leeway; undefined if it does not say. */
  endsAtMs: number | undefined
}

export interface CredentialQuestion {
  registry: RegistryClient
  repository: Repository
  credential: Credential
  /** Blobs that the caller says are in the repository; the tracker asks the registry for them. */
  digests: readonly Digest[]
  /** The node whose token brought a probed key, for the record. */
  caller: NodeCaller
  nowMs: number
}

/** The same bound as for subjects of tokens. */
const SUBJECT_CHARS_MAX = 4096

export interface CredentialParts {
  tokenKeys: TrustedKeys
  acceptances: Acceptances
  credentialsSeen: CredentialsSeen
}

/**
 * Decides whether the credential may pull from the repository.
 * @throws RefusedError with the code of what is wrong; RegistryTokenError when it cannot be read
 */
export async function verifyCredential(
  parts: CredentialParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  switch (question.registry.kind) {
    case 'none':
      return verifyNone(parts.credentialsSeen, question)
    case 'introspect':
      return verifyByIntrospection(parts.acceptances, question)
    case 'token':
      return verifyBearer(parts, question)
  }
}

async function verifyNone(
  seen: CredentialsSeen,
  { registry, repository, credential, digests: [digest] }: CredentialQuestion,
): Promise<VerifiedCredential> {
  if (credential.scheme !== 'none') {
    // One node's claim must not end sharing in all clusters: the registry decides whether it asks for credentials.
    if (digest !== undefined && seen.isOpen(registry.host)) {
      if (await asksForCredentials(registry, { repository, digest })) seen.note(registry.host)
    }
    throw new RefusedError('CREDENTIAL_UNEXPECTED', `${registry.host} is configured without authentication`)
  }
  if (!seen.isOpen(registry.host)) {
    throw new RefusedError('REGISTRY_NOT_OPEN', `credentials for ${registry.host} were seen`)
  }
  return { authorization: undefined, subject: '', tokenHash: undefined, tokenKey: null, endsAtMs: undefined }
}

async function verifyByIntrospection(
  acceptances: Acceptances,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  const { credential, registry } = question
  if (credential.scheme === 'none') {
    throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a credential`)
  }
  const isBearer = credential.scheme === 'bearer'
  const authorization = isBearer ? `Bearer ${credential.token}` : `Basic ${credential.value}`
  const alteredToken = isBearer ? { alteredToken: altered(credential.token) } : {}
  await acceptances.check({ ...question, ...alteredToken, authorization, endsAtMs: undefined })
  const subject = userOf(credential)
  return { authorization, subject, tokenHash: undefined, tokenKey: null, endsAtMs: undefined }
}

/** A different token of the same length. Changes the middle, because nobody may compare padding at the end. */
function altered(token: string): string {
  const middle = Math.floor(token.length / 2)
  return `${token.slice(0, middle)}${token[middle] === 'A' ? 'B' : 'A'}${token.slice(middle + 1)}`
}

/** The user of a basic credential (RFC 7617 §2). Opaque tokens name nobody. */
function userOf(credential: Credential): string {
  if (credential.scheme !== 'basic') return ''
  const [user = ''] = Buffer.from(credential.value, 'base64').toString().split(':', 1)
  return user.slice(0, SUBJECT_CHARS_MAX)
}

async function verifyBearer(
  parts: CredentialParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  const { registry, credential, repository, nowMs } = question
  if (credential.scheme === 'none') {
    throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a token`)
  }
  if (credential.scheme === 'basic') {
    throw new RefusedError('CREDENTIAL_UNSUPPORTED', `${registry.host} is configured for signed tokens`)
  }
  const jwt = credential.token
  const token = parseRegistryToken(jwt)
  checkClaims(registry.config, token, repository, nowMs)
  const signer = parts.tokenKeys.signerOf(registry.host, token)
  if (signer === undefined) throw keyUntrusted()
  checkSignature(token, signer)
  const verified = verifiedBearer(token, jwt, signer)
  if (signer.standing === 'configured') return verified
  const { cluster, node } = question.caller
  const by = { cluster: cluster.cluster, node }
  const asked = { registry, token, jwt, repository }
  const accepting = acceptedBlob(parts, { ...question, token: verified, signer })
  const [first] = question.digests
  const beside =
    signer.standing === 'unknown' && first !== undefined
      ? parts.tokenKeys.probeBeside(accepting, { ...asked, digest: first }, signer.jwk, by)
      : Promise.resolve(undefined)
  // A refusal of the token is told in its own words.
  beside.catch(() => undefined)
  const probe = { ...asked, digest: await accepting }
  if (signer.standing === 'probed') {
    parts.tokenKeys.renewBeforeEnd(probe, signer.jwk, by)
    return verified
  }
  const probed = beside.then((isTrusted) => isTrusted ?? parts.tokenKeys.probe(probe, signer.jwk, by))
  if (!(await probed.catch(throwUnreachable))) throw keyUntrusted()
  return verified
}

/**
 * A blob that the registry served to the token. A token under a probed key needs this: an attacker who got a key
 * through a probe could sign tokens for every repository.
 */
async function acceptedBlob(
  { acceptances }: CredentialParts,
  {
    token: { authorization, endsAtMs },
    signer,
    ...question
  }: CredentialQuestion & { token: VerifiedBearer; signer: Signer },
): Promise<Digest> {
  try {
    return await acceptances.check({ ...question, authorization, endsAtMs })
  } catch (error) {
    const isRefusal = error instanceof RefusedError && UNACCEPTED.has(error.code)
    if (isRefusal && signer.standing === 'unknown') throw keyUntrusted(error)
    throw error
  }
}

const UNACCEPTED: ReadonlySet<RefusalCode> = new Set(['REGISTRY_REFUSED', 'CREDENTIAL_UNPROVEN'])

/**
 * Verifies the signature alone, with a key that is trusted already: a caller that is not a node must not make the tracker
 * ask the registry about a key. Under a probed key the registry must still accept the token (Acceptances).
 * @param isSigned the verification, for callers that try several registries with one token
 * @throws RefusedError; RegistryTokenError when the token cannot be read
 */
export function verifyKnownBearer(
  keys: TrustedKeys,
  question: { registry: RegistryClient; repository: Repository; jwt: string; nowMs: number },
  isSigned: typeof isSignedBy = isSignedBy,
): VerifiedBearer {
  const { registry, repository, jwt, nowMs } = question
  if (registry.kind !== 'token') {
    throw new RefusedError('CREDENTIAL_UNEXPECTED', `${registry.host} is not configured for signed tokens`)
  }
  const token = parseRegistryToken(jwt)
  checkClaims(registry.config, token, repository, nowMs)
  const signer = keys.signerOf(registry.host, token)
  if (signer === undefined || signer.standing === 'unknown') throw keyUntrusted()
  checkSignature(token, signer, isSigned)
  return verifiedBearer(token, jwt, signer)
}

/** A verified credential whose authorization is a bearer token. */
export interface VerifiedBearer extends VerifiedCredential {
  authorization: string
}

function verifiedBearer(token: RegistryToken, jwt: string, { thumbprint }: Signer): VerifiedBearer {
  const { subject, hash: tokenHash, expiresAtSeconds } = token
  const endsAtMs = expiresAtSeconds === undefined ? undefined : expiresAtSeconds * 1000
  return { authorization: `Bearer ${jwt}`, subject, tokenHash, tokenKey: thumbprint, endsAtMs }
}

/** Checks the token's claims. Cheap, so it comes before any request to the registry. */
function checkClaims(
  config: RegistryConfig,
  token: RegistryToken,
  repository: Repository,
  nowMs: number,
): void {
  if (config.issuer !== undefined && token.issuer !== config.issuer) {
    throw new RefusedError('TOKEN_ISSUER', 'the token has another issuer')
  }
  if (config.audience !== undefined && !token.audience.includes(config.audience)) {
    throw new RefusedError('TOKEN_AUDIENCE', 'the token is for another audience')
  }
  if (!isValidAt(token, nowMs / 1000)) throw new RefusedError('TOKEN_EXPIRED', 'the token is not valid now')
  if (!grantsPull(token, repository)) {
    throw new RefusedError('TOKEN_SCOPE', `the token does not grant pull on ${repository}`)
  }
}

/** The only verification of a request: the caller chooses its cost, up to the longest key. */
function checkSignature(token: RegistryToken, { jwk, standing }: Signer, isSigned = isSignedBy): void {
  if (isSigned(token, jwk)) return
  throw standing === 'unknown'
    ? keyUntrusted()
    : new RefusedError('TOKEN_SIGNATURE', "the token's signature is not valid")
}

function throwUnreachable(cause: unknown): never {
  if (!(cause instanceof RegistryUnreachableError)) throw cause
  throw new RefusedError('REGISTRY_UNREACHABLE', cause.message, { cause })
}

function keyUntrusted(cause?: unknown): RefusedError {
  const message = "the registry does not vouch for the token's signing key"
  return new RefusedError('TOKEN_KEY_UNTRUSTED', message, cause === undefined ? {} : { cause })
}
