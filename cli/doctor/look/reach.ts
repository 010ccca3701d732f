import { type About, failureOf } from '../about.ts'
import type { ReachFacts } from '../judge/reach.ts'
import { reachSchema } from '../node-view.ts'

/** Two dials, one after the other. */
const REACH_PATIENCE_MS = 11_000

/** Has the tracker dial this node, and this node dial one other. */
export async function lookAtReach({ node, facts }: About, other?: string): Promise<ReachFacts> {
  if (facts.status === undefined) {
    const isDown = facts.failure?.code === 'NODE_DOWN'
    return { failure: isDown ? { code: 'NODE_DOWN', message: 'the node does not run' } : facts.failure }
  }
  try {
    const body = other === undefined ? {} : { node: other }
    return {
      reach: await node.ask('/v1/reach', reachSchema, {
        method: 'POST',
        body,
        patienceMs: REACH_PATIENCE_MS,
      }),
    }
  } catch (error) {
    return { failure: failureOf(error) }
  }
}
