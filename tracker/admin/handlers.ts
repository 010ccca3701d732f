import type { AdminParts, Handlers } from './handler.ts'
import { administratorHandlers } from './handlers/administrators.ts'
import { blockHandlers } from './handlers/blocks.ts'
import { clusterHandlers } from './handlers/clusters.ts'
import { fleetHandlers } from './handlers/fleet.ts'
import { imageHandlers } from './handlers/images.ts'
import { upkeepHandlers } from './handlers/upkeep.ts'

/** What the tracker does for each call of core/admin-api/calls.ts; one that is missing is an error of types. */
export function handlersOf(parts: AdminParts): Handlers {
  return {
    ...clusterHandlers(parts),
    ...fleetHandlers(parts),
    ...blockHandlers(parts),
    ...imageHandlers(parts),
    ...upkeepHandlers(parts),
    ...administratorHandlers(parts),
  }
}
