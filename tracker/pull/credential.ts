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
  /**
   * `signed`: peers verify the token. `introspected`: the registry accepted the credential. `stranger`: the registry
   * serves the repository to everybody. Without a signature the tracker mints a peer token.
   */
  standing: 'signed' | 'introspected' | 'stranger'
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

export interface CredentialParts {
  tokenKeys: TrustedKeys
  acceptances: Acceptances
}

/**
 * Decides by the token's signature, with a key that is configured or that the registry verifies tokens with.
 * @throws RefusedError with the code of what is wrong; RegistryTokenError when it cannot be read
 */
export async function verifyBearer(
  parts: CredentialParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  const { registry, credential, repository, nowMs } = question
  if (credential.scheme === 'none') {
    throw new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a token`)
  }
  if (credential.scheme === 'basic') {
    throw new RefusedError('CREDENTIAL_UNSUPPORTED', `the token keys of ${registry.host} are configured`)
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
  const digest = await acceptedBlob(parts, { ...question, token: verified, signer })
  const probe = { registry, token, jwt, repository, digest }
  if (signer.standing === 'probed') {
    parts.tokenKeys.renewBeforeEnd(probe, signer.jwk, by)
    return verified
  }
  if (parts.tokenKeys.isSpread(registry.config)) {
    // Until the key is trusted, the registry's own word on this token counts (judge-credential.ts).
    parts.tokenKeys.beginProbe(probe, signer.jwk, by)
    throw keyUntrusted()
  }
  if (!(await parts.tokenKeys.probe(probe, signer.jwk, by).catch(throwUnreachable))) throw keyUntrusted()
  return verified
}

/**
 * A blob that the registry served to the token. A token under a probed key needs this: an attacker who got a key
 * through a probe could sign tokens for every repository.
 */
async function acceptedBlob(
  { acceptances, tokenKeys }: CredentialParts,
  {
    token: { authorization, endsAtMs },
    signer,
    ...question
  }: CredentialQuestion & { token: VerifiedBearer; signer: Signer },
): Promise<Digest> {
  try {
    if (signer.standing === 'unknown' && tokenKeys.isSpread(question.registry.config))
      return await acceptances.check(introspectionOf(question, authorization))
    return await acceptances.check({ ...question, authorization, endsAtMs })
  } catch (error) {
    const isRefusal = error instanceof RefusedError && UNACCEPTED.has(error.code)
    if (isRefusal && signer.standing === 'unknown') throw keyUntrusted(error)
    throw error
  }
}

/** What shows that the registry looks at this bearer credential: it accepts it, and refuses it altered, and strangers. */
export function introspectionOf<Question extends object>(question: Question, authorization: string) {
  const alteredToken = altered(authorization.slice('Bearer '.length))
  return { ...question, authorization, alteredToken, endsAtMs: undefined }
}

/**
 * A different token of the same length. Changes the middle of the last part, a JWT's signature, because nobody may compare
 * padding at the end.
 */
function altered(token: string): string {
  const from = token.lastIndexOf('.') + 1
  const middle = from + Math.floor((token.length - from) / 2)
  return `${token.slice(0, middle)}${token[middle] === 'A' ? 'B' : 'A'}${token.slice(middle + 1)}`
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
  if (registry.kind === 'none') {
    throw new RefusedError('CREDENTIAL_UNEXPECTED', `${registry.host} is configured without authentication`)
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
  return {
    authorization: `Bearer ${jwt}`,
    subject,
    tokenHash,
    tokenKey: thumbprint,
    endsAtMs,
    standing: 'signed',
  }
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
