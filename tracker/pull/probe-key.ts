import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { BlobHead, QuestionMethod } from '../../core/blob-question.ts'
import type { Digest } from '../../core/digest.ts'
import { byOneMethod } from '../../core/one-method.ts'
import { isSettledWithin } from '../../core/patience.ts'
import type { RegistryClient } from '../../core/registry-client.ts'
import type { RegistryToken } from '../../core/registry-token.ts'
import type { Repository } from '../../core/repository.ts'
import { limited } from './registry-head.ts'

/**
 * Rounds of a probe, of three requests each. An attacker may switch a repository's visibility while the probe runs. If
 * the attacker sees when each request comes, a guess of the order of all rounds succeeds once in 3^6 = 729 tries. Without
 * that, each answer is hit by chance, at best once in (27/4)^6, or 95,000. One round would be guessed in three tries.
 */
export const PROBE_ROUNDS = 6
/**
 * Before each round of a probe that nobody waits for, so that the first pull under a new key has a registry's limit of
 * requests for itself. Six rounds end within the minute for which a token lives at least.
 */
export const PROBE_PAUSE_MS = 7_500
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
 * @throws RegistryUnreachableError; RefusedError REGISTRY_LIMITED at the first 429: it says nothing about the key
 */
export async function isKeyOfRegistry(
  { registry, token, jwt, repository, digest }: ProbeQuestion,
  /** Waits before each round. With the signal it begins no further one. */
  { pauseMs = 0, signal }: { pauseMs?: number; signal?: AbortSignal } = {},
): Promise<boolean> {
  const { signingInput, signature } = token
  // If the registry saw a different token, this one would gain trust by the other's acceptance.
  assert(jwt === compactForm(signingInput, signature), 'the token is not the one that was parsed')
  const flipped = compactForm(signingInput, withOneBitFlipped(signature))
  const round = (by: QuestionMethod, decided: AbortSignal) => {
    const ask = async (authorization: string | undefined) => {
      const head = await registry.headBlob({ repository, digest, authorization, onceBy: by, signal: decided })
      if (!head.isPresent && head.status === 429) throw limited(registry)
      return head
    }
    const requests = [
      async () => (await ask(`Bearer ${jwt}`)).isPresent,
      async () => isUnauthorized(await ask(`Bearer ${flipped}`)),
      async () => isUnauthorized(await ask(undefined)),
    ]
    return areAllYes(inRandomOrder(requests).map((request) => request()))
  }
  const rounds: Promise<boolean>[] = []
  let isRefuted = false
  for (let begun = 0; begun < PROBE_ROUNDS && !isRefuted && signal?.aborted !== true; begun += 1) {
    if (pauseMs > 0) await setTimeout(pauseMs, undefined, { ref: false, ...(signal && { signal }) })
    if (registry.limit.leftMs(`Bearer ${jwt}`) > 0) break
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
    await isSettledWithin(isConfirmed, ROUND_MS_MAX)
  }
  if (!(await areAllYes(rounds))) return false
  if (rounds.length < PROBE_ROUNDS) throw limited(registry)
  return true
}

/** A "no" counts at once, also where another answer is late or does not come. */
function areAllYes(answers: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    for (const answer of answers)
      answer.then(
        (isYes) => isYes || resolve(false),
        () => undefined,
      )
    void Promise.allSettled(answers)
      .then(() => Promise.all(answers))
      .then(() => resolve(true), reject)
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
