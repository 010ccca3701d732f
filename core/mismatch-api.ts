import { z } from 'zod'
import { binary, count } from './tracker-api.ts'

/** A message of the tracker's API (tracker-api.ts): POST /v1/swarms/<swarm>/mismatch. */

/** Pieces named in one report of wrong hashes; one is enough for a verdict. */
export const MISMATCH_PIECES_MAX = 64

/** The whole blob failed its digest, and a fetch from the registry showed that these pieces differ from the claims. */
export const mismatchRequest = z.strictObject({
  epoch: count,
  pieces: z
    .array(z.strictObject({ piece: count, hash: binary.length(43) }))
    .min(1)
    .max(MISMATCH_PIECES_MAX),
})
export const mismatchResponse = z.object({ epoch: count })

export type MismatchRequest = z.input<typeof mismatchRequest>
