import { z } from 'zod'
import { clusterIdSchema, nodeIdSchema } from '../tracker-api.ts'
import { call } from './call.ts'
import { atMs, EXAMPLE_CLUSTER, EXAMPLE_NODE, inCluster, next, ofCluster, ofNode, page } from './fields.ts'

/** Nodes, and what may hold them back: revocations and pauses. */

/** Bound of the labels of one node. */
export const NODE_LABELS_MAX = 16
/** Characters of a label's name, and of its value. */
const LABEL_CHARS_MAX = 63
const labelText = z
  .string()
  .max(LABEL_CHARS_MAX)
  .regex(/^[a-zA-Z0-9](?:[a-zA-Z0-9._/-]*[a-zA-Z0-9])?$/, 'letters and digits, with . _ / - between')
const labels = z
  .record(labelText, labelText)
  .refine((all) => Object.keys(all).length <= NODE_LABELS_MAX, `at most ${NODE_LABELS_MAX} labels`)
/** What of a node a list can ask for; `silent`: the tracker has not heard of it lately. */
export const NODE_STATES = ['heard', 'silent', 'drained', 'paused', 'revoked'] as const

const nodeLine = z.object({
  cluster: z.string(),
  node: z.string(),
  address: z.string().describe('Source address of its newest join or renewal.'),
  joinedAtMs: atMs,
  renewedAtMs: atMs,
  wire: z.int(),
  labels: z.record(z.string(), z.string()),
  isDrained: z.boolean().describe('It is named to nobody as a peer.'),
  isPaused: z.boolean().describe('It, or its cluster.'),
  isRevoked: z.boolean(),
  heardAgoMs: z
    .int()
    .nullable()
    .describe('Since its last heartbeat at this tracker, or another; null: silent.'),
  swarms: z.int().describe('Blobs that it serves.'),
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
    query: page.extend({
      ...ofCluster.shape,
      label: z
        .string()
        .min(1)
        .max(2 * LABEL_CHARS_MAX + 1)
        .optional()
        .describe('Only with this label: NAME or NAME=VALUE.'),
      state: z
        .enum(NODE_STATES)
        .optional()
        .describe(`Only such nodes: ${NODE_STATES.join(', ')}.`),
    }),
    answer: z.object({ nodes: z.array(nodeLine), next }),
    commands: ['shoal admin node ls'],
    example: { input: { cluster: EXAMPLE_CLUSTER, limit: 10 } },
  }),
  'nodes.inspect': call({
    method: 'GET',
    path: '/admin/v1/clusters/:cluster/nodes/:node',
    right: 'reader',
    summary: 'Says what is known of a node.',
    params: ofNode,
    answer: z.object({
      node: nodeLine,
      listing: z
        .object({ address: z.string(), port: z.int(), isReached: z.boolean().nullable() })
        .nullable()
        .describe('Where peers are sent; isReached is null before the tracker tried. Null: it is silent.'),
      revocations: z.array(revocationLine),
    }),
    commands: ['shoal admin node inspect'],
    example: { input: EXAMPLE },
  }),
  'nodes.label': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/nodes/:node/labels',
    right: 'operator',
    summary: 'Replaces the labels of a node.',
    params: ofNode,
    body: z.strictObject({ labels }),
    answer: z.object({ labels: z.record(z.string(), z.string()) }),
    commands: ['shoal admin node label'],
    example: { input: { ...EXAMPLE, labels: { zone: 'a', rack: 'r12' } } },
  }),
  'nodes.drain': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/nodes/:node/drain',
    right: 'operator',
    summary: 'Names a node to nobody as a peer. It still pulls, and whoever is connected to it stays so.',
    params: ofNode,
    answer: z.object({ isDrained: z.boolean() }),
    commands: ['shoal admin node drain'],
    example: { input: EXAMPLE },
  }),
  'nodes.undrain': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/nodes/:node/drain',
    right: 'operator',
    summary: 'Names a node as a peer again.',
    params: ofNode,
    answer: z.object({ isDrained: z.boolean() }),
    commands: ['shoal admin node undrain'],
    example: { input: EXAMPLE },
  }),
  'revocations.list': call({
    method: 'GET',
    path: '/admin/v1/revocations',
    right: 'reader',
    summary: 'Lists the revocations in force.',
    answer: z.object({ revocations: z.array(revocationLine) }),
    commands: ['shoal admin node revocations'],
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
    commands: ['shoal admin node revoke', 'shoal admin pull revoke'],
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
    commands: ['shoal admin node reinstate'],
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
    commands: ['shoal admin pause ls'],
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
    commands: ['shoal admin pause on'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'clusters.resume': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/pause',
    right: 'operator',
    summary: 'Ends the pause of a cluster. Nodes that are paused one by one stay so.',
    params: inCluster,
    answer: pausedTarget,
    commands: ['shoal admin pause off'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'nodes.pause': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/nodes/:node/pause',
    right: 'operator',
    summary: 'Lets one node stand aside.',
    params: ofNode,
    answer: pausedTarget,
    commands: ['shoal admin node pause'],
    example: { input: EXAMPLE },
  }),
  'nodes.resume': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/nodes/:node/pause',
    right: 'operator',
    summary: 'Ends the pause of one node.',
    params: ofNode,
    answer: pausedTarget,
    commands: ['shoal admin node resume'],
    example: { input: EXAMPLE },
  }),
  'nodes.forget': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/nodes/:node',
    right: 'operator',
    summary: 'Forgets a node that is gone. If it is not, it must join again; to keep it out, revoke it.',
    params: ofNode,
    answer: z.object({}),
    commands: ['shoal admin node forget'],
    example: { input: EXAMPLE },
  }),
}
