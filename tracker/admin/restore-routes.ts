import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { NodeId } from '../../core/metainfo.ts'
import { checked } from '../api/checked-input.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy } from '../store/store.ts'

const confirmation = z.strictObject({ isUnheard: z.boolean().default(false) })

/** What a restored tracker learned, and the confirmation that lets it grant again. */
export function restoreRoutes(
  app: FastifyInstance,
  { restored, peers }: Pick<TrackerParts, 'restored' | 'peers'>,
  actedBy: (request: FastifyRequest) => ActedBy,
): void {
  app.get('/admin/v1/restore', async () => ({ restore: (await restored.report()) ?? null }))
  app.post('/admin/v1/restore/confirmation', async (request) => {
    const inForce = await restored.confirm(checked(confirmation, request.body), actedBy(request))
    for (const { cluster, kind, target } of inForce)
      if (kind === 'node') peers.of(cluster).forget(target as NodeId)
    return { revocations: inForce.length }
  })
}
