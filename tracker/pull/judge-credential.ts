import type { CredentialsSeen } from '../../core/credentials-seen.ts'
import { hasTokenKeys } from '../../core/registry-config.ts'
import { parseRegistryToken, RegistryTokenError } from '../../core/registry-token.ts'
import { asksForCredentials, type Strangers } from '../../core/strangers.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { type RefusalCode, RefusedError } from '../errors.ts'
import { ASKED_BLOBS_MAX } from './acceptances.ts'
import {
  type CredentialParts,
  type CredentialQuestion,
  introspectionOf,
  type VerifiedCredential,
  verifyBearer,
} from './credential.ts'
import { expectUnlimited } from './registry-head.ts'

/** The same bound as for subjects of tokens. */
const SUBJECT_CHARS_MAX = 4096

export interface JudgeParts extends CredentialParts {
  credentialsSeen: CredentialsSeen
  strangers: Strangers
}

/**
 * Decides whether a pull may have the repository, from the credential that it brings and the registry's answers. In this
 * order:
 *
 * 1. a token whose signature a trusted key made (credential.ts),
 * 2. a credential that the registry itself accepts for this repository, while it refuses strangers and altered tokens,
 * 3. a repository that the registry serves to strangers: then the credential does not matter.
 *
 * Where the registry's token keys are configured, only 1 counts.
 * @throws RefusedError with the code of what is wrong; RegistryTokenError when a token cannot be read and nothing else helps
 */
export async function judgeCredential(
  parts: JudgeParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  const { registry, credential } = question
  if (registry.kind === 'none' && parts.credentialsSeen.isOpen(registry.host))
    return judgeAtOpenRegistry(parts, question)
  if (hasTokenKeys(registry.config)) return verifyBearer(parts, question)
  const { repository, digests } = question
  if (digests.some((digest) => parts.strangers.isOpen(registry, { repository, digest }))) return STRANGER
  if (credential.scheme === 'none') {
    return asStranger(
      parts,
      question,
      new RefusedError('CREDENTIAL_REQUIRED', `${registry.host} requires a credential`),
    )
  }
  const refusal = credential.scheme === 'bearer' ? await bySignature(parts, question) : undefined
  if (refusal !== undefined && !(refusal instanceof Error)) return refusal
  if (refusal !== undefined && servesStrangers(refusal)) return asStranger(parts, question, refusal)
  return byRegistry(parts, question, refusal)
}

/**
 * A registry of kind `none` that never asked for a credential. A credential is not shown to it: it is needless, or the
 * registry is not open.
 */
async function judgeAtOpenRegistry(
  parts: JudgeParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential> {
  const { registry, repository, credential, digests } = question
  const [digest] = digests
  // One node's claim must not change the rule for all clusters: the registry decides whether it asks for credentials.
  const isAsked =
    credential.scheme !== 'none' &&
    digest !== undefined &&
    (await asksForCredentials(registry, { repository, digest }))
  if (!isAsked) return STRANGER
  parts.credentialsSeen.note(registry.host)
  return judgeCredential(parts, question)
}

/** @returns the verified token, or why its signature does not count while the registry may still accept it */
async function bySignature(
  parts: JudgeParts,
  question: CredentialQuestion,
): Promise<VerifiedCredential | Error | undefined> {
  try {
    return await verifyBearer(parts, question)
  } catch (error) {
    // An opaque token: what the registry says of it says more.
    if (error instanceof RegistryTokenError) return error.code === 'TOKEN_MALFORMED' ? undefined : error
    if (!(error instanceof RefusedError) || !MAY_BE_ACCEPTED.has(error.code)) throw error
    // The registry was asked about this very token, and refused it.
    if (error.cause instanceof RefusedError && error.cause.code === 'REGISTRY_REFUSED') throw error
    if (isOfWithdrawnKey(parts, question)) throw error
    return error
  }
}

/** The registry answered this token and a stranger alike: to show it the token again would say nothing new. */
function servesStrangers(refusal: Error): boolean {
  return [refusal, refusal.cause].some(
    (it) => it instanceof RefusedError && it.code === 'CREDENTIAL_UNPROVEN',
  )
}

/** Refusals that are about what Shoal can verify, not about what the caller may have. */
const MAY_BE_ACCEPTED: ReadonlySet<RefusalCode> = new Set([
  'TOKEN_KEY_UNTRUSTED',
  'TOKEN_SIGNATURE',
  'TOKEN_SCOPE',
  'TOKEN_EXPIRED',
  'CREDENTIAL_UNPROVEN',
])

function isOfWithdrawnKey({ tokenKeys }: JudgeParts, { registry, credential }: CredentialQuestion): boolean {
  return (
    credential.scheme === 'bearer' &&
    tokenKeys.isOfWithdrawnKey(registry.host, parseRegistryToken(credential.token))
  )
}

/**
 * Introspection: the registry accepts this very credential for this repository.
 * @param refusal why the credential's signature did not count; it says more than the registry's 401
 */
async function byRegistry(
  parts: JudgeParts,
  question: CredentialQuestion,
  refusal: Error | undefined,
): Promise<VerifiedCredential> {
  const { credential } = question
  const isBearer = credential.scheme === 'bearer'
  const authorization = isBearer ? `Bearer ${credential.token}` : `Basic ${basicOf(credential)}`
  try {
    const asked = isBearer
      ? introspectionOf(question, authorization)
      : { ...question, authorization, isOnlyProof: true, endsAtMs: undefined }
    await parts.acceptances.check(asked)
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error
    if (error.code === 'CREDENTIAL_UNPROVEN') return asStranger(parts, question, refusal ?? error)
    throw error.code === 'REGISTRY_REFUSED' ? (refusal ?? error) : error
  }
  const token = isBearer ? readToken(credential.token) : undefined
  return {
    authorization,
    subject: token?.subject ?? userOf(credential),
    tokenHash: token?.hash,
    tokenKey: null,
    endsAtMs: undefined,
    standing: 'introspected',
  }
}

/** What the registry gives to strangers it gives to everybody. */
async function asStranger(
  { strangers }: JudgeParts,
  { registry, repository, digests }: CredentialQuestion,
  refusal: Error,
): Promise<VerifiedCredential> {
  for (const digest of digests.slice(0, ASKED_BLOBS_MAX)) {
    const standing = await strangers.standing(registry, { repository, digest })
    if (standing === 'served') return STRANGER
    if (standing !== 'unknown') continue
    expectUnlimited(registry, undefined)
    throw new RefusedError('REGISTRY_UNREACHABLE', `no answer from the registry ${registry.host}`)
  }
  throw refusal
}

const STRANGER: VerifiedCredential = Object.freeze({
  authorization: undefined,
  subject: '',
  tokenHash: undefined,
  tokenKey: null,
  endsAtMs: undefined,
  standing: 'stranger',
})

/** Only the registry can tell whether it is right, so that each refusal is a guess there. */
export function isGuess(credential: Credential): boolean {
  return (
    credential.scheme === 'basic' ||
    (credential.scheme === 'bearer' && readToken(credential.token) === undefined)
  )
}

function readToken(jwt: string) {
  try {
    return parseRegistryToken(jwt)
  } catch (error) {
    if (error instanceof RegistryTokenError) return undefined
    throw error
  }
}

function basicOf(credential: Credential): string {
  return credential.scheme === 'basic' ? credential.value : ''
}

/** The user of a basic credential (RFC 7617 §2). Opaque tokens name nobody. */
function userOf(credential: Credential): string {
  const [user = ''] = Buffer.from(basicOf(credential), 'base64').toString().split(':', 1)
  return user.slice(0, SUBJECT_CHARS_MAX)
}
