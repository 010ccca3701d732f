import { z } from 'zod'
import { digestSchema, nodeIdSchema, swarmIdSchema } from '../tracker-api.ts'
import { call } from './call.ts'
import {
  atMs,
  EXAMPLE_CLUSTER,
  inCluster,
  next,
  ofCluster,
  page,
  registryField,
  repositoryField,
} from './fields.ts'

/** What nodes share: images as the repositories that were pulled from, their blobs as swarms, and pulls. */

const swarmLine = z.object({
  swarm: z.string(),
  cluster: z.string(),
  registry: z.string(),
  digest: z.string(),
  bytes: z.int(),
  epoch: z.int(),
  isConfirmed: z.boolean().describe('Two nodes matched the whole blob.'),
  pieces: z.int().describe('Pieces whose hash is published.'),
  seeds: z.int().describe('Nodes with the whole blob, that this tracker hears of.'),
  leechers: z.int().describe('Nodes that fetch it.'),
})

const pullLine = z.object({
  pull: z.string(),
  cluster: z.string(),
  node: z.string(),
  registry: z.string(),
  repository: z.string(),
  subject: z.string().describe("The registry token's subject."),
  grantedAtMs: atMs,
  expiresAtMs: atMs.describe('End of its newest certificate.'),
  isRevoked: z.boolean(),
  blobs: z.int(),
  completeBlobs: z.int(),
})

const EXAMPLE_SWARM = 'fedcba9876543210fedcba9876543210fedcba98'
const EXAMPLE_REPOSITORY = { registry: 'registry.example.com', repository: 'team/app' }

export const IMAGE_CALLS = {
  'images.list': call({
    method: 'GET',
    path: '/admin/v1/images',
    right: 'reader',
    summary: 'Lists the repositories that nodes pulled from lately. The tracker never hears of tags.',
    query: page.extend({
      ...ofCluster.shape,
      registry: registryField.optional().describe('Only of this registry.'),
      repository: repositoryField.optional().describe('Only this repository.'),
    }),
    answer: z.object({
      images: z.array(
        z.object({
          cluster: z.string(),
          registry: z.string(),
          repository: z.string(),
          pulls: z.int(),
          nodes: z.int(),
          newestPullAtMs: atMs,
        }),
      ),
      next,
    }),
    commands: ['shoal admin image ls'],
    example: { input: { cluster: EXAMPLE_CLUSTER, limit: 10 } },
  }),
  'images.inspect': call({
    method: 'GET',
    path: '/admin/v1/clusters/:cluster/image-blobs',
    right: 'reader',
    summary: 'Lists the blobs that nodes pulled from one repository, with how many have each.',
    params: inCluster,
    query: page.extend({ registry: registryField, repository: repositoryField }),
    answer: z.object({ blobs: z.array(swarmLine), next }),
    commands: ['shoal admin image inspect'],
    example: { input: { cluster: EXAMPLE_CLUSTER, ...EXAMPLE_REPOSITORY } },
  }),
  'swarms.list': call({
    method: 'GET',
    path: '/admin/v1/swarms',
    right: 'reader',
    summary: 'Lists the blobs that the tracker knows, by the id of their swarm.',
    query: page.extend({
      ...ofCluster.shape,
      registry: registryField.optional().describe('Only of this registry.'),
      digest: digestSchema.optional().describe('Only this blob.'),
    }),
    answer: z.object({ swarms: z.array(swarmLine), next }),
    commands: ['shoal admin image blobs'],
    example: { input: { cluster: EXAMPLE_CLUSTER, limit: 10 } },
  }),
  'swarms.inspect': call({
    method: 'GET',
    path: '/admin/v1/clusters/:cluster/swarms/:swarm',
    right: 'reader',
    summary: 'Says who holds a blob, and who fetches which part of it from the registry.',
    params: inCluster.extend({ swarm: swarmIdSchema.describe('Id of the swarm.') }),
    answer: z.object({
      swarm: swarmLine,
      piecesInAll: z.int(),
      holders: z.array(z.string()).describe('Nodes that have it or fetch it.'),
      leases: z.array(
        z.object({ node: z.string(), firstPiece: z.int(), pieces: z.int(), expiresAtMs: atMs }),
      ),
      completions: z.array(z.string()).describe('Nodes that matched the whole blob.'),
      disputes: z.int(),
    }),
    commands: ['shoal admin image blob'],
    example: { input: { cluster: EXAMPLE_CLUSTER, swarm: EXAMPLE_SWARM } },
  }),
  'pulls.list': call({
    method: 'GET',
    path: '/admin/v1/pulls',
    right: 'reader',
    summary: 'Lists the pulls that the tracker certified, newest first.',
    query: page.extend({
      ...ofCluster.shape,
      node: nodeIdSchema.optional().describe('Only of this node.'),
      registry: registryField.optional().describe('Only from this registry.'),
      repository: repositoryField.optional().describe('Only from this repository.'),
    }),
    answer: z.object({ pulls: z.array(pullLine), next }),
    commands: ['shoal admin pull ls'],
    example: { input: { cluster: EXAMPLE_CLUSTER, limit: 10 } },
  }),
  'pulls.inspect': call({
    method: 'GET',
    path: '/admin/v1/pulls/:pull',
    right: 'reader',
    summary: 'Says what a pull was certified for.',
    params: z.strictObject({
      pull: z
        .string()
        .regex(/^[0-9a-f]{32}$/)
        .describe('Id of the pull.'),
    }),
    answer: z.object({
      pull: pullLine,
      keySha256: z.string().describe("SHA-256 (hex) of the certificate's SubjectPublicKeyInfo."),
      tokenHash: z.string().nullable().describe("SHA-256 (hex) of the registry token's signing input."),
      blobs: z.array(z.object({ swarm: z.string(), digest: z.string(), isComplete: z.boolean() })),
    }),
    commands: ['shoal admin pull inspect'],
    example: { input: { pull: '0123456789abcdef0123456789abcdef' } },
  }),
}
