import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { BlobHead, QuestionMethod } from '../../core/blob-question.ts'
import type { Digest } from '../../core/digest.ts'
import { byOneMethod } from '../../core/one-method.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { RegistryToken } from '../../core/registry-token.ts'
import type { Repository } from '../../core/repository.ts'

/**
 * Rounds of a probe, of three requests each. An attacker may switch a repository's visibility while the probe runs. If
 * the attacker sees when each request comes, a guess of the order of all rounds succeeds once in 3^6 = 729 tries. Without
 * that, each answer is hit by chance, at best once in (27/4)^6, or 95,000.
 */
export const PROBE_ROUNDS = 6
/**
 * A round does not wait longer than this for the one before it: a registry may take seconds for each answer. The requests
 * of each round still leave together, and those of two rounds apart.
 */
const ROUND_MS_MAX = 50

export interface ProbeQuestion {
  registry: RegistryClient
  /** The result of `parseRegistryToken(jwt)`. */
  token: RegistryToken
  jwt: string
  /** A repository that the token may pull from, and one of its blobs that the registry served to this token. */
  repository: Repository
  digest: Digest
}

/**
 * Whether the registry verifies the token's signature: it serves the blob to the token, and answers 401 to the same token
 * with one flipped bit in the signature, and 401 without a token. Serving alone proves nothing, as a registry may answer
 * 200 to a bad token on a public repository (Harbor does). The three requests of a round leave together, in random order.
 * @throws RegistryUnreachableError
 */
export async function isKeyOfRegistry(
  { registry, token, jwt, repository, digest }: ProbeQuestion,
  /** Begins no further round. */
  signal?: AbortSignal,
): Promise<boolean> {
  const { signingInput, signature } = token
  // If the registry saw a different token, this one would gain trust by the other's acceptance.
  assert(jwt === compactForm(signingInput, signature), 'the token is not the one that was parsed')
  const flipped = compactForm(signingInput, withOneBitFlipped(signature))
  const round = (by: QuestionMethod, signal: AbortSignal) => {
    const ask = (authorization: string | undefined) =>
      registry.headBlob({ repository, digest, authorization, onceBy: by, signal })
    const requests = [
      async () => (await ask(`Bearer ${jwt}`)).isPresent,
      async () => isUnauthorized(await ask(`Bearer ${flipped}`)),
      async () => isUnauthorized(await ask(undefined)),
    ]
    return areAll(inRandomOrder(requests).map((request) => request()))
  }
  const rounds: Promise<boolean>[] = []
  let isRefuted = false
  for (let begun = 0; begun < PROBE_ROUNDS && !isRefuted && signal?.aborted !== true; begun += 1) {
    const isConfirmed = byOneMethod(registry, repository, round)
    isConfirmed.then(
      (it) => {
        isRefuted ||= !it
      },
      () => {
        isRefuted = true
      },
    )
    rounds.push(isConfirmed)
    await Promise.race([isConfirmed.catch(() => undefined), setTimeout(ROUND_MS_MAX)])
  }
  const confirmed = await Promise.all(rounds)
  return confirmed.length === PROBE_ROUNDS && !confirmed.includes(false)
}

/** False as soon as one is: a "no" is not put aside because the others are late. */
function areAll(answers: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    for (const answer of answers) answer.then((is) => is || resolve(false), reject)
    Promise.all(answers).then(() => resolve(true), reject)
  })
}

function isUnauthorized(head: BlobHead): boolean {
  return !head.isPresent && head.status === 401
}

/** Fisher-Yates with a random source that nobody can predict. */
function inRandomOrder<Item>(items: readonly Item[]): Item[] {
  const mixed = [...items]
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = randomInt(last + 1)
    ;[mixed[last], mixed[other]] = [mixed[other]!, mixed[last]!]
  }
  return mixed
}

function compactForm(signingInput: string, signature: Buffer): string {
  return `${signingInput}.${signature.toString('base64url')}`
}

function withOneBitFlipped(signature: Buffer): Buffer {
  const flipped = Buffer.from(signature)
  flipped[0] = flipped[0]! ^ 1
  return flipped
}
