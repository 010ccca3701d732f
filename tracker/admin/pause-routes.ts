import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { clusterIdSchema, nodeIdSchema } from '../../core/tracker-api.ts'
import { checked } from '../api/checked-input.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy } from '../store/store.ts'

type PauseRoute = { Params: { cluster: string; node?: string } }

/** Pauses. PUT and DELETE state the wanted result, so that a repeated call changes nothing. */
export function pauseRoutes(
  app: FastifyInstance,
  { pauses, clusters }: Pick<TrackerParts, 'pauses' | 'clusters'>,
  actedBy: (request: FastifyRequest) => ActedBy,
): void {
  const targetOf = (params: PauseRoute['Params']) => {
    const cluster = checked(clusterIdSchema, params.cluster)
    clusters.get(cluster)
    return { cluster, node: params.node === undefined ? null : checked(nodeIdSchema, params.node) }
  }
  app.get('/admin/v1/pauses', async () => ({ pauses: pauses.list() }))
  for (const path of ['/admin/v1/clusters/:cluster/pause', '/admin/v1/clusters/:cluster/nodes/:node/pause']) {
    app.put<PauseRoute>(path, async (request) => {
      checked(z.strictObject({}), request.body)
      const target = targetOf(request.params)
      await pauses.pause(target, actedBy(request))
      return { ...target, isPaused: true }
    })
    app.delete<PauseRoute>(path, async (request) => {
      const target = targetOf(request.params)
      await pauses.resume(target, actedBy(request))
      return { ...target, isPaused: false }
    })
  }
}
