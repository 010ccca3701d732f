import { z } from 'zod'
import { CONDITIONS } from '../../core/condition-texts.ts'
import type { ConditionCode } from '../../core/conditions.ts'
import { DIAL_OUTCOMES } from '../../core/reach-api.ts'
import { conditionSchema as shownCondition, statusSchema as shownStatus } from '../node-status.ts'

/** What the doctor reads of the node's answers (docs/status.md); whatever else is in them does not matter here. */

const conditionSchema = shownCondition.pick({ subject: true, facts: true }).extend({
  code: z.custom<ConditionCode>((code) => typeof code === 'string' && code in CONDITIONS),
})

/** A node of another version may have conditions that this command does not know. */
export const statusSchema = shownStatus
  .pick({ node: true, tracker: true, registries: true, peers: true })
  .extend({
    conditions: z
      .array(z.unknown())
      .transform((all) =>
        all.flatMap((one) => [conditionSchema.safeParse(one)].flatMap(({ data }) => data ?? [])),
      ),
  })

export type NodeStatus = z.output<typeof statusSchema>
export type NodeCondition = z.output<typeof conditionSchema>

/** `POST /v1/reach` of the local API (node/local/reach.ts). */
export const reachSchema = z.object({
  own: z.object({ address: z.string(), port: z.number(), outcome: z.enum(DIAL_OUTCOMES) }).nullable(),
  other: z
    .object({
      node: z.string(),
      address: z.string(),
      port: z.number(),
      heardAgoMs: z.number(),
      isReached: z.boolean().optional(),
      link: z.object({
        outcome: z.enum(['linked', 'refused', 'unreachable', 'unlinked']),
        reason: z.string().optional(),
      }),
    })
    .nullable(),
  nodes: z.number(),
})

export type NodeReach = z.output<typeof reachSchema>
