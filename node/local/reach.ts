import { z } from 'zod'
import type { Client } from '../../client/index.ts'
import { nodeIdSchema } from '../../core/tracker-api.ts'
import { type LocalRoute, localRoute } from '../local-api.ts'

/** For `shoal doctor`: what only a member can find out. The tracker dials this node, and this node another one. */
export function reachRoutes({ client }: { client: Pick<Client, 'reach'> }): LocalRoute[] {
  return [
    localRoute({
      method: 'POST',
      path: '/v1/reach',
      /** `node`: the other one; absent: any. */
      body: z.strictObject({ node: nodeIdSchema.optional() }),
      answer: ({ body: { node } }) => client.reach(node),
    }),
  ]
}
