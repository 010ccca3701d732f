import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { checked } from '../api/checked-input.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy, TokenKeyRecord } from '../store/store.ts'

const tokenKeyId = z.string().regex(/^[0-9a-f]{16}$/, '16 hex digits expected')

/** Token keys that a probe confirmed, and withdrawn ones. Configured keys are only in the configuration. */
export function tokenKeyRoutes(
  app: FastifyInstance,
  parts: TrackerParts,
  byAdmin: (request: FastifyRequest) => ActedBy,
): void {
  app.get('/admin/v1/token-keys', async () => ({ tokenKeys: parts.tokenKeys.list().map(message) }))
  app.post<{ Params: { id: string } }>('/admin/v1/token-keys/:id/withdrawal', async (request) => {
    const id = checked(tokenKeyId, request.params.id)
    return { tokenKeys: (await parts.tokenKeys.withdraw(id, byAdmin(request))).map(message) }
  })
}

function message({ id, key, probedAtMs, trustedUntilMs, withdrawnAtMs }: TokenKeyRecord) {
  return { id, ...key, probedAtMs, trustedUntilMs, withdrawnAtMs }
}
