import { z } from 'zod'
import {
  digestSchema,
  hashBatchSchema,
  registryHostSchema,
  repositorySchema,
} from '../../core/tracker-api.ts'

/** `state.json` of a blob in the store. */
export const blobState = z.strictObject({
  version: z.literal(1),
  registry: registryHostSchema,
  digest: digestSchema,
  bytes: z.int().positive(),
  /** Repositories that the tracker confirmed the blob in; for people and progress only. */
  repository: repositorySchema,
  epoch: z.int().nonnegative(),
  batches: z.array(hashBatchSchema),
  /** Base64url bitfield of pieces that are in the file and matched a signed hash. */
  pieces: z.string(),
  /** The whole blob has been matched against its digest, here or by confirmed hashes. */
  isMatched: z.boolean(),
  /** That whole was hashed here; absent or false: confirmed hashes were believed. */
  isHashed: z.boolean().optional(),
  /** Of the cache key that the file is encrypted with (hex); absent: it is not. */
  cacheKey: z.string().optional(),
  /** Base64url of SHA-1 hashes, once they were needed. */
  piecesSha1: z.string().optional(),
  usedAtMs: z.number(),
})
