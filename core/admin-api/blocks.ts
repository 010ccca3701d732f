import { z } from 'zod'
import { parseImageRepository } from '../image-name.ts'
import { clusterIdSchema, digestSchema, nodeIdSchema } from '../tracker-api.ts'
import { call } from './call.ts'
import { atMs, EXAMPLE_CLUSTER, ofCluster } from './fields.ts'

/** What must not be shared any more, in an emergency. */

/** A registry's name, a slash, and a repository's. */
const IMAGE_CHARS_MAX = 512

const repository = z
  .string()
  .max(IMAGE_CHARS_MAX)
  .refine(isImageRepository, 'registry.example.com/team/app expected, without tag or digest')

function isImageRepository(text: string): boolean {
  try {
    parseImageRepository(text)
    return true
  } catch {
    return false
  }
}

/** Of a node it is that of its revocation. */
const blockId = z.string().regex(/^(?:[0-9a-f]{16}|node-[1-9][0-9]{0,14})$/, 'id of a block expected')

const blockLine = z.object({
  block: blockId.describe('Its id.'),
  cluster: z.string(),
  kind: z.enum(['repository', 'digest', 'node']),
  target: z.string(),
  atMs,
})

export const BLOCK_CALLS = {
  'blocks.list': call({
    method: 'GET',
    path: '/admin/v1/blocks',
    right: 'reader',
    summary: 'Lists what is blocked: repositories, blobs, and nodes that were revoked.',
    query: ofCluster,
    answer: z.object({ blocks: z.array(blockLine) }),
    commands: ['shoal admin block ls'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'blocks.create': call({
    method: 'POST',
    path: '/admin/v1/blocks',
    right: 'operator',
    summary:
      'Blocks a repository, a blob or a node in the whole cluster: nodes cut its transfers with their next heartbeat and drop their copies.',
    body: z
      .strictObject({
        cluster: clusterIdSchema,
        repository: repository
          .optional()
          .describe('All blobs that are granted through it: registry.example.com/team/app.'),
        digest: digestSchema.optional().describe('One blob, whatever repository it is in.'),
        node: nodeIdSchema.optional().describe('Everything that a node has and wants: revokes it.'),
      })
      .refine(
        ({ repository, digest, node }) =>
          [repository, digest, node].filter((it) => it !== undefined).length === 1,
        'one of repository, digest and node expected',
      ),
    answer: z.object({
      block: blockLine,
      blobs: z
        .int()
        .nullable()
        .describe('Blobs on record that it covers, counted up to 1000; null: it is of a node.'),
    }),
    status: 201,
    commands: ['shoal admin block add'],
    example: { input: { cluster: EXAMPLE_CLUSTER, digest: `sha256:${'0123456789abcdef'.repeat(4)}` } },
  }),
  'blocks.remove': call({
    method: 'DELETE',
    path: '/admin/v1/blocks/:block',
    right: 'operator',
    summary: 'Removes a block: what it was of is shared again, once somebody pulls it.',
    params: z.strictObject({ block: blockId.describe('Id of the block.') }),
    answer: z.object({ block: z.string() }),
    commands: ['shoal admin block remove'],
    example: { input: { block: '0123456789abcdef' } },
  }),
}
