import { z } from 'zod'
import { clusterIdSchema, nodeIdSchema, repositorySchema } from '../tracker-api.ts'

/** Fields that several calls have. */

/** Bound of the entries in one answer. */
export const PAGE_ENTRIES_MAX = 1000
const PAGE_ENTRIES_DEFAULT = 100
/** Bound of the nodes that may join with one token. */
const USES_MAX = 1_000_000
/** Bound of the life of a join token. */
const JOIN_TOKEN_SECONDS_MAX = 10 * 365 * 24 * 3600

export const EXAMPLE_CLUSTER = 'c0123456789abcdef'
export const EXAMPLE_NODE = '0123456789abcdef0123456789abcdef01234567'

export const inCluster = z.strictObject({ cluster: clusterIdSchema.describe('Id of the cluster.') })
export const ofCluster = z.strictObject({
  cluster: clusterIdSchema.optional().describe('Only of this cluster.'),
})
export const ofNode = inCluster.extend({ node: nodeIdSchema.describe('Id of the node.') })

/** For lists: where to go on is in `next` of the answer before. */
export const page = z.strictObject({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(PAGE_ENTRIES_MAX)
    .default(PAGE_ENTRIES_DEFAULT)
    .describe('Entries in one answer.'),
  cursor: z.string().min(1).max(200).optional().describe('`next` of the answer before.'),
})

/** As image names have it: `registry.example.com:5000`. */
export const registryField = z
  .string()
  .max(300)
  .regex(/^[\x21-\x7e]+$/, 'the name of a registry expected')
export const repositoryField = repositorySchema

/** Null: there are no more. */
export const next = z.string().nullable()
export const atMs = z.int()
export const isLeaked = z
  .boolean()
  .default(false)
  .describe('Somebody else has the previous key: it ends as soon as possible.')
export const isForced = z.boolean().describe('Even if nodes still depend on the previous one.')

export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'SHA-256 in hex expected')
export const joinTokenSeconds = z.int().positive().max(JOIN_TOKEN_SECONDS_MAX).optional()
export const usesMax = z.int().min(1).max(USES_MAX).optional()
/** Of a join token, or of a trusted token key. */
export const shortId = z.string().regex(/^[0-9a-f]{16}$/, '16 hex digits expected')
