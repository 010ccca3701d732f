import { ShoalError } from '../../core/errors.ts'
import { parseRegistryToken } from '../../core/registry-token.ts'
import type { Credential } from '../../core/tracker-api.ts'

/** A node whose clock is within this of the registry's reads a token's end as it is written. */
const SKEW_SECONDS = 5

/**
 * When a credential that has just come in ends, in ms of this node's clock. With a clock that is off, a token's own
 * times still tell how long it lasts.
 * @returns undefined when nobody can tell
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
    // An opaque token: its end is the registry's secret.
    if (error instanceof ShoalError) return undefined
    throw error
  }
}
