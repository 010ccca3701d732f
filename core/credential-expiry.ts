import { ShoalError } from './errors.ts'
import { parseRegistryToken } from './registry-token.ts'
import type { Credential } from './tracker-api.ts'

/** With at most this clock difference to the registry, a token's expiry is used as written. */
const SKEW_SECONDS = 5

/**
 * Expiry of a credential that has just arrived, in ms of this node's clock. With a wrong clock, the token's own times
 * still give its lifetime.
 * @returns undefined when the expiry is unknown
 */
export function endsAtMs(credential: Credential, nowMs: number): number | undefined {
  if (credential.scheme !== 'bearer') return undefined
  const times = timesOf(credential.token)
  if (times?.expiresAtSeconds === undefined) return undefined
  const { expiresAtSeconds, notBeforeSeconds = nowMs / 1000 } = times
  const isInStep = notBeforeSeconds < nowMs / 1000 + SKEW_SECONDS && expiresAtSeconds * 1000 > nowMs
  return isInStep ? expiresAtSeconds * 1000 : nowMs + (expiresAtSeconds - notBeforeSeconds) * 1000
}

function timesOf(token: string) {
  try {
    return parseRegistryToken(token)
  } catch (error) {
    // An opaque token: only the registry knows its expiry.
    if (error instanceof ShoalError) return undefined
    throw error
  }
}
