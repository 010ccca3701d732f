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
import type { TokenKeys } from '../../core/token-keys.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { RefusedError } from '../errors.ts'
import { introspect, refusesStrangers } from './introspect.ts'

/** A credential that holds for pulling from the repository now. Lives no longer than the request. */
export interface VerifiedCredential {
  /** For the registry. */
  authorization: string | undefined
  /** '' when the registry knows no subjects. */
  subject: string
  /** SHA-256 (hex) of the token's signing input; undefined where the registry's credential is no signed token. */
  tokenHash: string | undefined
  /** When the token ends, without leeway; undefined where it does not say. */
  endsAtMs: number | undefined
}

export interface CredentialQuestion {
  registry: RegistryClient
  repository: Repository
  credential: Credential
  /** Blobs of the repository, as the caller says: what a new token key is probed with. */
  digests: readonly Digest[]
  nowMs: number
}

/** As long as the subjects of tokens. */
const SUBJECT_CHARS_MAX = 4096
/** A key is probed with the first blobs only: a caller cannot make us send the registry a request for each. */
const PROBED_BLOBS_MAX = 3

export interface CredentialParts {
  tokenKeys: TokenKeys
  credentialsSeen: CredentialsSeen
}

/**
 * Decides whether the credential may pull from the repository.
 * @throws RefusedError with the code of what is wrong; RegistryTokenError when it cannot be read
 */
export async function verifyCredential(
  { tokenKeys, credentialsSeen }: CredentialParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  switch (question.registry.kind) {
    case 'none':
      return verifyNone(credentialsSeen, question)
    case 'introspect':
      return verifyByIntrospection(question)
    case 'token':
      return verifyBearer(tokenKeys, question)
  }
}

async function verifyNone(
  seen: CredentialsSeen,
  { registry, credential, ...question }: CredentialQuestion,
): Promise<VerifiedCredential> {
  if (credential.scheme !== 'none') {
    // A node's word alone must not end the sharing in all clusters: the registry says whether it asks for credentials.
    if (seen.isOpen(registry.host) && (await refusesStrangers({ registry, ...question }))) {
      seen.note(registry.host)
    }
    throw new RefusedError('CREDENTIAL_UNEXPECTED', `${registry.host} is configured without authentication`)
  }
  if (!seen.isOpen(registry.host)) {
    throw new RefusedError('REGISTRY_NOT_OPEN', `credentials for ${registry.host} were seen`)
  }
  return { authorization: undefined, subject: '', tokenHash: undefined, endsAtMs: undefined }
}

async function verifyByIntrospection(question: CredentialQuestion): Promise<VerifiedCredential> {
  const { credential, registry } = question
  if (credential.scheme === 'none') {
    throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a credential`)
  }
  const authorization = await introspect({ ...question, credential })
  return { authorization, subject: userOf(credential), tokenHash: undefined, endsAtMs: undefined }
}

/** The user of a basic credential (RFC 7617 §2). Opaque tokens name nobody. */
function userOf(credential: Credential): string {
  if (credential.scheme !== 'basic') return ''
  const [user = ''] = Buffer.from(credential.value, 'base64').toString().split(':', 1)
  return user.slice(0, SUBJECT_CHARS_MAX)
}

async function verifyBearer(keys: TokenKeys, question: CredentialQuestion): Promise<VerifiedCredential> {
  const { registry, credential, repository, nowMs } = question
  if (credential.scheme === 'none') {
    throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a token`)
  }
  if (credential.scheme === 'basic') {
    throw new RefusedError('CREDENTIAL_UNSUPPORTED', `${registry.host} is configured for signed tokens`)
  }
  const token = parseRegistryToken(credential.token)
  checkClaims(registry.config, token, repository, nowMs)
  await checkSignature(keys, question, token, credential.token)
  return verifiedBearer(token, credential.token)
}

/**
 * As a pull's bearer token is verified, with the keys that are trusted already: whoever is no node of a cluster must
 * not make us ask the registry about a key.
 * @throws RefusedError; RegistryTokenError when the token cannot be read
 */
export function verifyKnownBearer(
  keys: TokenKeys,
  question: { registry: RegistryClient; repository: Repository; jwt: string; nowMs: number },
): VerifiedCredential {
  const { registry, repository, jwt, nowMs } = question
  if (registry.kind !== 'token') {
    throw new RefusedError('CREDENTIAL_UNEXPECTED', `${registry.host} is not configured for signed tokens`)
  }
  const token = parseRegistryToken(jwt)
  checkClaims(registry.config, token, repository, nowMs)
  const key = keys.keyFor(registry.host, token)
  if (key === undefined) throw keyUntrusted()
  if (!isSignedBy(token, key)) throw signatureInvalid()
  return verifiedBearer(token, jwt)
}

function verifiedBearer(token: RegistryToken, jwt: string): VerifiedCredential {
  const { subject, hash: tokenHash, expiresAtSeconds } = token
  const endsAtMs = expiresAtSeconds === undefined ? undefined : expiresAtSeconds * 1000
  return { authorization: `Bearer ${jwt}`, subject, tokenHash, endsAtMs }
}

/** What the token says; cheap, so that it comes before any question to the registry. */
function checkClaims(
  config: RegistryConfig,
  token: RegistryToken,
  repository: Repository,
  nowMs: number,
): void {
  if (config.issuer !== undefined && token.issuer !== config.issuer) {
    throw new RefusedError('TOKEN_ISSUER', 'the token is of another issuer')
  }
  if (config.audience !== undefined && !token.audience.includes(config.audience)) {
    throw new RefusedError('TOKEN_AUDIENCE', 'the token is for another audience')
  }
  if (!isValidAt(token, nowMs / 1000)) throw new RefusedError('TOKEN_EXPIRED', 'the token is not valid now')
  if (!grantsPull(token, repository)) {
    throw new RefusedError('TOKEN_SCOPE', `the token does not grant pull on ${repository}`)
  }
}

async function checkSignature(
  keys: TokenKeys,
  { registry, repository, digests }: CredentialQuestion,
  token: RegistryToken,
  jwt: string,
): Promise<void> {
  for (const digest of digests.slice(0, PROBED_BLOBS_MAX)) {
    const key = await keys
      .establish({ registry: registry.host, token, jwt, repository, digest })
      .catch((cause: unknown) => {
        if (!(cause instanceof RegistryUnreachableError)) throw cause
        throw new RefusedError('REGISTRY_UNREACHABLE', cause.message, { cause })
      })
    if (key !== undefined) return
  }
  throw keys.keyFor(registry.host, token) === undefined ? keyUntrusted() : signatureInvalid()
}

function signatureInvalid(): RefusedError {
  return new RefusedError('TOKEN_SIGNATURE', "the token's signature is not valid")
}

function keyUntrusted(): RefusedError {
  return new RefusedError('TOKEN_KEY_UNTRUSTED', "the registry does not vouch for the token's signing key")
}
