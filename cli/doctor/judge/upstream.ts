import type { ConditionCode } from '../../../core/conditions.ts'
import { type Finding, found, ok } from '../finding.ts'

export interface UpstreamFacts {
  /** `host:port` of each proxy that is configured; [] for none. */
  addresses: string[]
  /** What a connection through it met. */
  conditions: { code: ConditionCode; subject: string; reason?: string | undefined }[]
  /** The setting cannot be used. */
  error?: { message: string; hint?: string | undefined } | undefined
}

export function judgeUpstream({ addresses, conditions, error }: UpstreamFacts): Finding[] {
  if (error !== undefined) return [found('SETTINGS_REFUSED', { detail: error.message, remedy: error.hint })]
  if (addresses.length === 0) return [ok('none is configured: registries are reached directly')]
  if (conditions.length === 0) return [ok(`${[...new Set(addresses)].join(', ')} answers`)]
  return conditions.map(({ code, subject, reason }) => found(code, { subject, detail: reason }))
}
