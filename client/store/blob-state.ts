import { z } from 'zod'
import { isSwarmId } from '../../core/metainfo.ts'
import { registryHostSchema } from '../../core/registries-api.ts'
import { digestSchema, hashBatchSchema, repositorySchema } from '../../core/tracker-api.ts'

/** Of all that the store keeps for a blob. Raise it when an older program would read something wrongly. */
export const BLOB_VERSION = 1

/** `state.json` of a blob in the store. */
export const blobState = z.strictObject({
  version: z.literal(BLOB_VERSION),
  registry: registryHostSchema,
  digest: digestSchema,
  bytes: z.int().positive(),
  /** Repositories for which the tracker confirmed the blob; for display and progress only. */
  repository: repositorySchema,
  epoch: z.int().nonnegative(),
  batches: z.array(hashBatchSchema),
  /** Base64url bitfield of pieces that are in the file and matched a signed hash. */
  pieces: z.string(),
  /** The whole blob has been matched against its digest, here or by confirmed hashes. */
  isMatched: z.boolean(),
  /** The whole was hashed here; absent or false: confirmed hashes were accepted. */
  isHashed: z.boolean().optional(),
  /**
   * Written at the node's end, or before anything was written since: the pieces need no check. Absent or false after a
   * kill, or when the machine failed.
   */
  isClean: z.boolean().optional(),
  /** Id of the cache key that the file is encrypted with (hex); absent: not encrypted. */
  cacheKey: z.string().optional(),
  /** The name that the file's key is derived from; absent: the swarm's. */
  sealedAs: z.string().refine(isSwarmId).optional(),
  /** Base64url of SHA-1 hashes, once they were needed. */
  piecesSha1: z.string().optional(),
  usedAtMs: z.number(),
})
