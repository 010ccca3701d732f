import { z } from 'zod'
import { BATCH_PIECES_MAX } from './hash-batch.ts'
import { hashBatchSchema } from './tracker-api.ts'

/** A message of the tracker's API (tracker-api.ts): POST /v1/swarms/:id/batches. */

/** Runs of hashes to sign again in one call: as many pieces as the largest answer has. */
export const RENEWED_RUNS_MAX = 4

/**
 * The tracker has a new signing key, and a node wants its hashes signed again. The node names them by their SHA-256, which
 * it can know only if it has them, so the answer tells nothing new.
 */
export const batchesRequest = z.strictObject({
  epoch: z.int().nonnegative(),
  runs: z
    .array(
      z.strictObject({
        firstPiece: z.int().nonnegative(),
        pieces: z.int().min(1).max(BATCH_PIECES_MAX),
        /** SHA-256 over the hashes of these pieces, 32 bytes each. */
        sha256: z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'SHA-256 in base64url expected'),
      }),
    )
    .min(1)
    .max(RENEWED_RUNS_MAX),
})
/** A batch for every run that equals the tracker's hashes in this epoch. */
export const batchesResponse = z.object({ batches: z.array(hashBatchSchema) })

export type BatchesRequest = z.input<typeof batchesRequest>
export type BatchesResponse = z.output<typeof batchesResponse>
