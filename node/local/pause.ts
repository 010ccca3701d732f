import type { Conditions } from '../../core/conditions.ts'
import type { LocalRoute } from '../local-api.ts'
import type { Pause } from '../pause.ts'

/** `shoal pause` and `shoal resume` on a running node. */

export interface PauseParts {
  pause: Pick<Pause, 'operatorSays'>
  conditions: Pick<Conditions, 'health'>
}

export function pauseRoutes({ pause, conditions }: PauseParts): LocalRoute[] {
  const says = (isPaused: boolean) => () => {
    pause.operatorSays(isPaused)
    return { codes: conditions.health().codes }
  }
  return [
    { method: 'PUT', path: '/v1/pause', answer: says(true) },
    { method: 'DELETE', path: '/v1/pause', answer: says(false) },
  ]
}
