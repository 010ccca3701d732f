import type { LocalRoute } from '../local-api.ts'
import type { Reload } from '../reload.ts'

/** `shoal reload`. */
export function reloadRoutes({ reload }: { reload: Pick<Reload, 'reload'> }): LocalRoute[] {
  return [{ method: 'POST', path: '/v1/reload', answer: () => reload.reload() }]
}
