import type { ConditionCode, Conditions, ShownCondition } from '../core/conditions.ts'

/**
 * Whether a pull through this node is shared: its proxy accepts, and no condition says that nothing is shared (severity
 * `error`). A node that an operator paused is ready: it does what it was told.
 */
export interface Readiness {
  status: 'ready' | 'starting' | 'not ready'
  /** Without their subjects: these name registries. */
  reasons: ReadyReason[]
}

export interface ReadyReason extends Pick<ShownCondition, 'title' | 'remedy'> {
  code: ConditionCode
}

export function readinessOf(conditions: Pick<Conditions, 'shown'>, isServing: boolean): Readiness {
  const blocking = conditions.shown().filter(({ severity }) => severity === 'error')
  const reasons = new Map(blocking.map(({ code, title, remedy }) => [code, { code, title, remedy }]))
  const status = isServing ? (reasons.size === 0 ? 'ready' : 'not ready') : 'starting'
  return { status, reasons: [...reasons.values()] }
}
