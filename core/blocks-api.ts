import { z } from 'zod'
import { isDigest } from './digest.ts'
import { registryHostSchema } from './registries-api.ts'
import { isRepository } from './repository.ts'

/** What an operator blocked, as the tracker tells nodes with a heartbeat; parts of the messages in tracker-api.ts. */

/** Blocks in force in one cluster: nodes hear of all of them at once. */
export const BLOCKS_MAX = 1024

/** All blobs that are granted through a repository, or one blob whatever repository it is in. */
export const blockSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('repository'),
    registry: registryHostSchema,
    repository: z.string().refine(isRepository),
  }),
  z.object({ kind: z.literal('digest'), digest: z.string().refine(isDigest) }),
])

/** Every block in force. */
export const blocksNews = z.object({
  /** Rises with each change; whoever knows a higher one heard of it from another tracker. */
  version: z.int().nonnegative(),
  list: z.array(blockSchema).max(BLOCKS_MAX),
})

/** Part of a heartbeat: the blocks that this node obeys; only for trackers that named some (older ones refuse the field). */
export const blocksKnown = { blocksVersion: z.int().nonnegative().optional() }
/** Part of its answer. Absent if the asker knows them. */
export const blocksTold = { blocks: blocksNews.optional() }
export type BlocksNews = z.output<typeof blocksNews>
