import { z } from 'zod'
import { clusterIdSchema } from '../tracker-api.ts'
import { call } from './call.ts'
import {
  atMs,
  EXAMPLE_CLUSTER,
  inCluster,
  isForced,
  isLeaked,
  joinTokenSeconds,
  sha256Hex,
  shortId,
  usesMax,
} from './fields.ts'

/** Clusters, their join tokens, and their keys. No call takes or answers a secret: join tokens arrive as hashes. */

const authorityRotation = z.object({ issuesAtMs: atMs, previousEndsAtMs: atMs })
const keyRotation = z.object({ signsAtMs: atMs, previousEndsAtMs: atMs })

const clusterLine = z.object({
  cluster: z.string(),
  name: z.string(),
  authorities: z.array(z.string()).describe('Certificates (PEM); the first one issues.'),
  rotation: authorityRotation.nullable(),
  signingKeys: z.array(z.string()).describe('Raw public keys in base64url; the first one signs.'),
  keyRotation: keyRotation.nullable(),
})

const joinTokenLine = z.object({
  id: z.string(),
  cluster: z.string(),
  createdAtMs: atMs,
  validUntilMs: atMs.nullable(),
  usesMax: z.int().nullable(),
  uses: z.int(),
  withdrawnAtMs: atMs.nullable(),
  standing: z.string(),
})

const HASH = 'b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9'
const ofJoinToken = inCluster.extend({ token: shortId.describe('Id of the join token.') })
const newToken = z.strictObject({ hash: sha256Hex, validForSeconds: joinTokenSeconds })

export const CLUSTER_CALLS = {
  'clusters.list': call({
    method: 'GET',
    path: '/admin/v1/clusters',
    right: 'reader',
    summary: 'Lists the clusters with their authorities and signing keys.',
    answer: z.object({ clusters: z.array(clusterLine) }),
    commands: ['shoal admin cluster ls', 'shoal admin key ls'],
    example: { input: {} },
  }),
  'clusters.create': call({
    method: 'POST',
    path: '/admin/v1/clusters',
    right: 'admin',
    summary:
      'Creates a cluster. The caller makes its id and its first join token, and sends the hash of that.',
    body: z.strictObject({
      cluster: clusterIdSchema,
      name: z
        .string()
        .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and hyphens'),
      joinTokenHash: sha256Hex,
      joinTokenValidForSeconds: joinTokenSeconds,
    }),
    answer: z.object({ cluster: z.string(), name: z.string() }),
    status: 201,
    commands: ['shoal admin cluster create'],
    example: { input: { cluster: 'cfedcba9876543210', name: 'main', joinTokenHash: HASH } },
  }),
  'joinTokens.list': call({
    method: 'GET',
    path: '/admin/v1/clusters/:cluster/join-tokens',
    right: 'reader',
    summary: 'Lists the join tokens of a cluster, newest first, with those that ended within a week.',
    params: inCluster,
    answer: z.object({ joinTokens: z.array(joinTokenLine) }),
    commands: ['shoal admin token ls'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'joinTokens.create': call({
    method: 'POST',
    path: '/admin/v1/clusters/:cluster/join-tokens',
    right: 'operator',
    summary: 'Adds a join token. The caller makes it, and sends its hash.',
    params: inCluster,
    body: newToken.extend({ usesMax }),
    answer: z.object({ joinToken: joinTokenLine }),
    status: 201,
    commands: ['shoal admin token create'],
    example: { input: { cluster: EXAMPLE_CLUSTER, hash: HASH, validForSeconds: 3600, usesMax: 1 } },
  }),
  'joinTokens.replace': call({
    method: 'PUT',
    path: '/admin/v1/clusters/:cluster/join-token',
    right: 'admin',
    summary: 'Ends all join tokens of a cluster, and adds one in the same step.',
    params: inCluster,
    body: newToken,
    answer: z.object({ cluster: z.string() }),
    commands: ['shoal admin token rotate'],
    example: { input: { cluster: EXAMPLE_CLUSTER, hash: HASH, validForSeconds: 86_400 } },
  }),
  'joinTokens.withdraw': call({
    method: 'DELETE',
    path: '/admin/v1/clusters/:cluster/join-tokens/:token',
    right: 'operator',
    summary: 'Ends one join token. Nodes that joined with it stay.',
    params: ofJoinToken,
    answer: z.object({}),
    commands: ['shoal admin token withdraw'],
    example: { input: { cluster: EXAMPLE_CLUSTER, token: '0123456789abcdef' } },
  }),
  'joinAddress.show': call({
    method: 'GET',
    path: '/admin/v1/join-address',
    right: 'reader',
    summary: 'Says where nodes reach the tracker, and how they recognise it.',
    answer: z.object({
      trackers: z
        .array(z.string())
        .describe('`tracker.example.com:7443`, as the setting `advertise` has them.'),
      authorityPin: z.string().nullable().describe('Null: tlsCertFile does not have the authority.'),
    }),
    commands: ['shoal admin token create'],
    example: { input: {} },
  }),
  'authorities.rotate': call({
    method: 'POST',
    path: '/admin/v1/clusters/:cluster/authorities',
    right: 'admin',
    summary: 'Begins to change the authority of a cluster.',
    params: inCluster,
    body: z.strictObject({ isLeaked }),
    answer: z.object({ cluster: z.string(), rotation: authorityRotation }),
    status: 201,
    commands: ['shoal admin key rotate authority'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'authorities.withdraw': call({
    method: 'POST',
    path: '/admin/v1/clusters/:cluster/authorities/withdrawal',
    right: 'admin',
    summary: 'Ends the change of the authority: certificates of the previous one no longer count.',
    params: inCluster,
    body: z.strictObject({ isForced }),
    answer: z.object({ cluster: z.string(), nodesLeft: z.int().describe('They must join again.') }),
    commands: ['shoal admin key rotate authority --withdraw'],
    example: { input: { cluster: EXAMPLE_CLUSTER, isForced: true } },
  }),
  'signingKeys.rotate': call({
    method: 'POST',
    path: '/admin/v1/clusters/:cluster/signing-keys',
    right: 'admin',
    summary: 'Begins to change the key of a cluster that signs piece hashes and peer tokens.',
    params: inCluster,
    body: z.strictObject({ isLeaked }),
    answer: z.object({ cluster: z.string(), rotation: keyRotation }),
    status: 201,
    commands: ['shoal admin key rotate signing-key'],
    example: { input: { cluster: EXAMPLE_CLUSTER } },
  }),
  'signingKeys.withdraw': call({
    method: 'POST',
    path: '/admin/v1/clusters/:cluster/signing-keys/withdrawal',
    right: 'admin',
    summary: 'Ends the change of the signing key: signatures of the previous one no longer count.',
    params: inCluster,
    body: z.strictObject({ isForced }),
    answer: z.object({ cluster: z.string() }),
    commands: ['shoal admin key rotate signing-key --withdraw'],
    example: { input: { cluster: EXAMPLE_CLUSTER, isForced: true } },
  }),
}
