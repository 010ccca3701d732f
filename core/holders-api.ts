import { z } from 'zod'
import { isSwarmId } from './metainfo.ts'

/** How many others hold what a node holds: part of the answer to a heartbeat (core/tracker-api.ts). */

/** Swarms of which one answer says how many others hold them; the next goes on. */
export const HOLDERS_NEWS_MAX = 256
/** Holders are counted up to here: above, one more or less changes nothing. */
export const HOLDERS_TOLD_MAX = 8

export const holdersNews = z
  .array(
    z.object({
      swarm: z.string().refine(isSwarmId),
      /** Other nodes with the whole blob. */
      others: z.int().min(0).max(HOLDERS_TOLD_MAX),
    }),
  )
  .max(HOLDERS_NEWS_MAX)

export type HoldersNews = z.output<typeof holdersNews>
