import { z } from 'zod'
import { count, nodeIdSchema } from './tracker-api.ts'

/** `POST /v1/reach`: the tracker dials the caller's peer port, and says where one other node of the cluster is. */

/**
 * What a dial met. `reached`: the node itself, in a handshake of the cluster. `foreign`: something that is not that node.
 * `refused`: a machine on which nothing listens there. `silent`: nobody.
 */
export const DIAL_OUTCOMES = ['reached', 'foreign', 'refused', 'silent'] as const
export type DialOutcome = (typeof DIAL_OUTCOMES)[number]

/** `node`: the other node to tell of; absent: the one that was heard of last. */
export const reachRequest = z.strictObject({ node: nodeIdSchema.optional() })

const address = z.string().max(64)

export const reachResponse = z.object({
  /** The caller, at the source address of this call and the port of its heartbeats. Null: it sent none lately. */
  own: z.object({ address, port: count, outcome: z.enum(DIAL_OUTCOMES) }).nullable(),
  /** Another node, as its heartbeats told it; it was not dialled for this call. Null: none is heard of. */
  other: z
    .object({
      node: nodeIdSchema,
      address,
      port: z.int().min(1).max(65535),
      wire: z.int().positive(),
      heardAgoMs: count,
      /** Whether the tracker last reached its port; absent: not tried. */
      isReached: z.boolean().optional(),
    })
    .nullable(),
  /** Nodes of the cluster that the tracker hears of, the caller too. */
  nodes: count,
})

export type ReachRequest = z.input<typeof reachRequest>
export type ReachResponse = z.output<typeof reachResponse>

/** How a link to another node was tried. `unlinked`: one of both has no links. */
export interface LinkTrial {
  outcome: 'linked' | 'refused' | 'unreachable' | 'unlinked'
  reason?: string
}

/** Who reaches whom: what the tracker found (core/reach-api.ts), and what this node did with the other node. */
export interface Reach extends Omit<ReachResponse, 'other'> {
  other: (NonNullable<ReachResponse['other']> & { link: LinkTrial }) | null
}
