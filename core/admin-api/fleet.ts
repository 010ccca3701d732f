import { z } from 'zod'
import { clusterIdSchema, nodeIdSchema } from '../tracker-api.ts'
import { call } from './call.ts'
import { atMs, EXAMPLE_CLUSTER, EXAMPLE_NODE, inCluster, next, ofNode, page } from './fields.ts'

/** Nodes, and what may hold them back: revocations and pauses. */

const nodeLine = z.object({
  cluster: z.string(),
  node: z.string(),
  address: z.string().describe('Source address of its newest join or renewal.'),
  joinedAtMs: atMs,
  renewedAtMs: atMs,
  wire: z.int(),
})

const revocationLine = z.object({
  sequence: z.int(),
  cluster: z.string(),
  kind: z.enum(['node', 'pull']),
  target: z.string(),
  registry: z.string().nullable(),
  subject: z.string().nullable().describe('The subject of its token is barred too.'),
  atMs,
  endsAtMs: atMs.nullable(),
  isLeft: z.boolean().describe('The node gave its identity back.'),
})

const pausedTarget = z.object({ cluster: z.string(), node: z.string().nullable(), isPaused: z.boolean() })
const EXAMPLE = { cluster: EXAMPLE_CLUSTER, node: EXAMPLE_NODE }

export const FLEET_CALLS = {
  'nodes.list': call({
    method: 'GET',
    path: '/admin/v1/nodes',
    right: 'reader',
    summary: 'Lists the nodes on record, by cluster and id.',
    query: page.extend({ cluster: clusterIdSchema.optional().describe('Only of this cluster.') }),
    answer: z.object({ nodes: z.array(nodeLine), next }),
    commands: [],
    example: { input: { cluster: EXAMPLE_CLUSTER, limit: 10 } },
  }),
  'revocations.list': call({
    method: 'GET',
    path: '/admin/v1/revocations',
    right: 'reader',
    summary: 'Lists the revocations in force.',
    answer: z.object({ revocations: z.array(revocationLine) }),
    commands: [],
    example: { input: {} },
  }),
  'revocations.create': call({
    method: 'POST',
    path: '/admin/v1/revocations',
    right: 'operator',
    summary: 'Revokes a node, or a pull with the subject of its token, until the revocation is cleared.',
    body: z
      .strictObject({
        cluster: clusterIdSchema,
        node: nodeIdSchema.optional(),
        pull: z
          .string()
          .regex(/^[0-9a-f]{32}$/)
          .optional(),
      })
      .refine(
        ({ node, pull }) => (node === undefined) !== (pull === undefined),
        'either node or pull expected',
      ),
    answer: z.object({ revocation: z.int().describe('Its sequence number.') }),
    status: 201,
    commands: [],
    example: { input: EXAMPLE },
  }),
  'revocations.clear': call({
    method: 'DELETE',
    path: '/admin/v1/revocations/:revocation',
    right: 'operator',
    summary: 'Clears a revocation.',
    params: z.strictObject({
      revocation: z.coerce.number().int().positive().describe('Sequence number of the revocation.'),
    }),
    answer: z.object({ revocation: z.int() }),
    commands: [],
    example: { input: { revocation: 1 } },
  }),
  'pauses.list': call({
    method: 'GET',
    path: '/admin/v1/pauses',
    right: 'reader',
    summary: 'Lists the clusters and nodes that stand aside.',
    answer: z.object({
      pauses: z.array(z.object({ cluster: z.string(), node: z.string().nullable(), atMs })),
    }),
    commands: [],
    example: { input: {} },
  }),
  'clusters.pause': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/pause',
    right: 'operator',
    summary:
      'Lets all nodes of a cluster stand aside, also those that join later: they pull from registries.',
    params: inCluster,
    answer: pausedTarget,
    commands: [],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'clusters.resume': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/pause',
    right: 'operator',
    summary: 'Ends the pause of a cluster. Nodes that are paused one by one stay so.',
    params: inCluster,
    answer: pausedTarget,
    commands: [],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'nodes.pause': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/nodes/:node/pause',
    right: 'operator',
    summary: 'Lets one node stand aside.',
    params: ofNode,
    answer: pausedTarget,
    commands: [],
    example: { input: EXAMPLE },
  }),
  'nodes.resume': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/nodes/:node/pause',
    right: 'operator',
    summary: 'Ends the pause of one node.',
    params: ofNode,
    answer: pausedTarget,
    commands: [],
    example: { input: EXAMPLE },
  }),
}
