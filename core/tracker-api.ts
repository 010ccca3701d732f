import { z } from 'zod'
import { CERTIFICATE_BLOBS_MAX } from './certificate-claims.ts'
import { isDigest } from './digest.ts'
import { BATCH_PIECES_MAX, type HashBatch } from './hash-batch.ts'
import { holdersNews } from './holders-api.ts'
import { locationNews, nodeLocation } from './location.ts'
import { BLOB_BYTES_MAX, isClusterId, isInfoHash, isNodeId, isSwarmId, PIECE_HASH_BYTES } from './metainfo.ts'
import { registriesNews, registryHostSchema } from './registries-api.ts'
import { RETRY_AFTER_MS_MAX } from './registry-limit.ts'
import { TOKEN_CHARS_MAX } from './registry-token.ts'
import { isRepository } from './repository.ts'
import { copyFields, REVOCATION_COPIES_MAX, restoreFields, revocationCopy } from './restore-api.ts'
import { wireVersion } from './wire-version.ts'

/**
 * The tracker's API: one schema per message, used by both sides. JSON over HTTPS, and mutual TLS for all but the join. Binary
 * values are base64url, certificates PEM. Times are relative (`…InSeconds`, `…InMs`) where a clock could be off.
 */

/** Bound of swarms in one heartbeat, and so of swarms that a node serves. */
export const NODE_SWARMS_MAX = 10_000
/** Swarms for which one heartbeat asks for peers. */
export const WANTED_SWARMS_MAX = 256
/** Peers reported in one heartbeat. */
export const BAD_PEERS_MAX = 64
/** Bound of runs in one call; a node that lacks more sends the first ones. */
export const AWAITED_RUNS_MAX = 64

export const binary = z.string().regex(/^[A-Za-z0-9_-]*$/, 'base64url expected')
/** One certificate. */
export const pem = z.string().max(64 * 1024)
export const count = z.int().nonnegative()

export const swarmIdSchema = z.string().refine(isSwarmId)
export const nodeIdSchema = z.string().refine(isNodeId)
export const clusterIdSchema = z.string().refine(isClusterId)
export const digestSchema = z.string().refine(isDigest)
export const repositorySchema = z.string().refine(isRepository)

/** SubjectPublicKeyInfo (DER) of an ECDSA P-256 key that the node made and keeps: 91 bytes. */
export const publicKey = binary.max(200)

/** Every answer that is not 2xx. `code` is stable (docs/errors.md). */
export const errorBody = z.object({ error: z.object({ code: z.string(), message: z.string() }) })

// --- parts of several messages --------------------------------------------------------------------------------

export const peerSchema = z.object({
  node: nodeIdSchema,
  /** Source address of the peer's own connection to the tracker. */
  address: z.string().max(64),
  port: z.int().min(1).max(65535),
  /** Whether the peer has the whole blob. */
  isSeed: z.boolean(),
  /** For stock clients: the alias in both handshakes and the SNI, instead of the swarm's id. */
  infoHash: z.string().refine(isInfoHash).optional(),
  /** The newest wire version that the peer speaks; absent: the first one. */
  wire: z.int().positive().optional(),
  /**
   * The tracker could not reach the peer's port. Its links carry both directions; it may be dialled when no other peer is
   * left, since others may reach what the tracker cannot. Only in answers to nodes with links.
   */
  dialsOnly: z.boolean().optional(),
  /** Whether it is in another zone than the asker. Only in answers to nodes with links and a zone. */
  isFar: z.boolean().optional(),
})

export const hashBatchSchema = z
  .object({
    swarm: swarmIdSchema,
    epoch: count,
    status: z.enum(['claimed', 'confirmed']),
    firstPiece: count,
    hashes: binary.max(Math.ceil((BATCH_PIECES_MAX * PIECE_HASH_BYTES * 4) / 3)),
    signature: binary.length(86),
  })
  .transform(
    (wire): HashBatch => ({
      ...wire,
      hashes: Buffer.from(wire.hashes, 'base64url'),
      signature: Buffer.from(wire.signature, 'base64url'),
    }),
  )

/** The form of a batch in JSON. */
export function hashBatchToJson(batch: HashBatch): z.input<typeof hashBatchSchema> {
  return {
    ...batch,
    hashes: batch.hashes.toString('base64url'),
    signature: batch.signature.toString('base64url'),
  }
}

/**
 * The right and the duty to fetch pieces [firstPiece, endPiece) from the registry. The holder requests `pieces` at once and
 * tells how far it requests (`requestedTo`); others may get the rest (`leaseEnd`). The lease expires `expiresInMs` after its last publication.
 */
export const leaseSchema = z.object({
  lease: z.string().max(64),
  swarm: swarmIdSchema,
  firstPiece: count,
  pieces: z.int().positive(),
  /** Absent in the answers of an older tracker: the lease ends after `pieces`, and its holder reports no `requestedTo`. */
  endPiece: count.optional(),
  expiresInMs: count,
})

/** A registry token's key (JWK, public), with the registry, issuer and audience that it is trusted for. */
export const tokenKeySchema = z.object({
  registry: registryHostSchema,
  issuer: z.string().max(1024),
  audience: z.string().max(1024),
  jwk: z.record(z.string(), z.unknown()),
})

/** Everything that a cluster's members must trust. Sent with every grant and heartbeat, so that a change reaches all. */
export const clusterTrust = z.object({
  authorities: z.array(pem).min(1).max(2),
  /** Raw Ed25519 public keys that sign hash batches. */
  batchKeys: z.array(binary.length(43)).min(1).max(2),
  tokenKeys: z.array(tokenKeySchema).max(64),
  /** Public keys (JWK with `kid`) of peer tokens, for every registry; the first one signs. Absent: an older tracker. */
  peerTokenKeys: z.array(z.record(z.string(), z.unknown())).max(2).optional(),
})

/** Visible ASCII: what a header field can carry of a credential (RFC 9110 §5.5). */
const headerText = z.string().regex(/^[\x21-\x7e]+$/)

/** The pulling daemon's credential for the registry. In memory only; never stored or logged. */
export const credentialSchema = z.discriminatedUnion('scheme', [
  z.strictObject({
    scheme: z.literal('bearer'),
    token: headerText.max(TOKEN_CHARS_MAX),
  }),
  z.strictObject({
    scheme: z.literal('basic'),
    value: headerText.max(8 * 1024),
  }),
  z.strictObject({ scheme: z.literal('none') }),
])

// --- POST /v1/pulls -------------------------------------------------------------------------------------------

export const pullRequest = z.strictObject({
  registry: registryHostSchema,
  repository: repositorySchema,
  credential: credentialSchema,
  /** The key made for this pull. */
  publicKey,
  /** Port of this node's peer listener, at the source address of this connection. */
  listenPort: z.int().min(1).max(65535),
  /** Blobs of the image. `isWanted`: requested now, so an origin lease is useful; else planned from the manifest. */
  blobs: z
    .array(
      z.strictObject({
        digest: digestSchema,
        bytes: z.int().min(1).max(BLOB_BYTES_MAX),
        isWanted: z.boolean(),
      }),
    )
    .min(1)
    .max(CERTIFICATE_BLOBS_MAX),
})

export const grantedSwarm = z.object({
  digest: digestSchema,
  bytes: count,
  swarm: swarmIdSchema,
  epoch: count,
  /** `cold`: hashes are missing. `claimed`: complete, but not matched yet. `confirmed`: matched by two nodes. */
  status: z.enum(['cold', 'claimed', 'confirmed']),
  /** Batches that the tracker has signed in this epoch, or [] if peers can deliver them. */
  batches: z.array(hashBatchSchema),
  peers: z.array(peerSchema),
  lease: leaseSchema.nullable(),
})

export const pullResponse = z.object({
  pull: z.string().max(64),
  certificate: pem,
  validForSeconds: count,
  trust: clusterTrust,
  swarms: z.array(grantedSwarm),
  /** Blobs without a grant, each with the code of the reason; ask the registry for them. */
  refused: z.array(z.object({ digest: digestSchema, code: z.string() })),
  /** Where peers cannot verify the credential: a token that the tracker minted for the proof to peers. */
  peerToken: z.string().nullable(),
})

// --- POST /v1/pulls/:id/renew ---------------------------------------------------------------------------------

/** A new certificate for the same key, grant time and blobs; only while the pull is incomplete. */
export const renewRequest = z.strictObject({
  /** The key that signed the pull's peer token is being withdrawn: the node wants a token of the next key. */
  wantsPeerToken: z.boolean().default(false),
})
export const renewResponse = z.object({
  certificate: pem,
  validForSeconds: count,
  trust: clusterTrust,
  /** The certificate is bound to this token; null: to the same token as before. */
  peerToken: z.string().nullable().default(null),
})

// --- POST /v1/swarms/:id/hashes -------------------------------------------------------------------------------

/** Publishes hashes of leased pieces and asks for more work. Without hashes it only asks for a lease. */
export const hashesRequest = z.strictObject({
  pull: z.string().max(64),
  lease: z.string().max(64).nullable(),
  epoch: count,
  firstPiece: count,
  /** 32 bytes a piece; may be empty. */
  hashes: binary.max(Math.ceil((BATCH_PIECES_MAX * PIECE_HASH_BYTES * 4) / 3)),
  /** The node gives up the lease; its rest goes to another node at once. */
  isLeaseReleased: z.boolean(),
  requestedTo: count.optional(),
  wantsLease: z.boolean(),
  /** The registry answered a request for a part with the whole blob: only one node should read it, from the start. */
  isRangeIgnored: z.boolean().default(false),
  /** The registry answered this node 429: it asks it for nothing for so long. Absent: it did not, or an older node. */
  registryLimitedMs: count.max(RETRY_AFTER_MS_MAX).optional(),
  /** The first missing piece from the reader's position on; leases start there if possible. */
  position: count,
  /**
   * Missing pieces that no known peer has, sent if no peer has delivered a byte for a while. They may be leased again
   * although their hashes are known.
   */
  awaited: z
    .array(z.strictObject({ firstPiece: count, pieces: count }))
    .max(AWAITED_RUNS_MAX)
    .default([]),
  /** The asker wants signed batches from this piece on; null: none. */
  batchesFrom: count.nullable(),
})
export const hashesResponse = z.object({
  epoch: count,
  status: z.enum(['cold', 'claimed', 'confirmed']),
  /** The published hashes, signed, and those requested with `batchesFrom`. */
  batches: z.array(hashBatchSchema),
  lease: leaseSchema.nullable(),
  /** Answers `requestedTo`: the end of the lease, which may have shrunk; null if the node does not hold it (any more). */
  leaseEnd: count.nullable().optional(),
  /** When to ask again, if there is no lease while pieces are missing or others fetch the awaited pieces. */
  retryInMs: count.nullable(),
  peers: z.array(peerSchema),
})

// --- POST /v1/swarms/:id/complete, POST /v1/swarms/:id/mismatch -----------------------------------------------

/** The node has the whole blob. `matched`: 'whole' if it compared the whole blob's SHA-256 with the digest. */
export const completeRequest = z.strictObject({
  epoch: count,
  matched: z.enum(['whole', 'pieces']),
  /** SHA-1 of every piece (20 bytes each) for stock BitTorrent v1 clients, if the tracker asked this node for them. */
  piecesSha1: binary.max(8 * 1024 * 1024).nullable(),
})
export const completeResponse = z.object({
  epoch: count,
  status: z.enum(['cold', 'claimed', 'confirmed']),
  /** Signed confirmed batches once the swarm is confirmed; they replace the claims. */
  batches: z.array(hashBatchSchema),
  wantsSha1: z.boolean(),
})

// --- POST /v1/heartbeat ---------------------------------------------------------------------------------------

export const heartbeatRequest = z.strictObject({
  listenPort: z.int().min(1).max(65535),
  /** True: `holds` is complete; swarms that it does not name are gone. */
  isFullInventory: z.boolean(),
  /** Swarms that this node serves. */
  holds: z.array(z.strictObject({ swarm: swarmIdSchema, isSeed: z.boolean() })).max(NODE_SWARMS_MAX),
  dropped: z.array(swarmIdSchema).max(NODE_SWARMS_MAX),
  /** Swarms for which the node wants fresh peers. */
  wantsPeers: z.array(swarmIdSchema).max(WANTED_SWARMS_MAX),
  /** Peers that sent a piece with a wrong hash since the last heartbeat. */
  badPeers: z.array(z.strictObject({ swarm: swarmIdSchema, node: nodeIdSchema })).max(BAD_PEERS_MAX),
  /** A key for a serve certificate, if the node wants one. */
  servePublicKey: publicKey.nullable(),
  /** The newest revocation that this node knows. */
  revocationsVersion: count,
  /** The list of registries that this node knows; only for trackers that named one (older ones refuse the field). */
  registriesVersion: z.string().max(64).optional(),
  /** The newest that the node speaks. This and the next field only for trackers that named their own version. */
  wire: wireVersion,
  /** The node wants a new link certificate, for the key of the node certificate of this connection. */
  wantsLinkCertificate: z.boolean().default(false),
  /** This and the next field answer `knowsLocations` and `wantsCopiesFrom`; absent otherwise. */
  location: nodeLocation.optional(),
  copies: z.array(revocationCopy).max(REVOCATION_COPIES_MAX).optional(),
})

/** Nodes and pulls that must not be served; their connections end at once. */
export const revocationSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('node'), node: nodeIdSchema, ...copyFields }),
  z.object({ kind: z.literal('pull'), pull: z.string().max(64), ...copyFields }),
])

export const instructionSchema = z.discriminatedUnion('kind', [
  /** A swarm's epoch rose: drop unconfirmed pieces and batches of older epochs. */
  z.object({ kind: z.literal('epoch'), swarm: swarmIdSchema, epoch: count }),
  /** Stop serving the blob at once, and drop it from the store; where somebody reads it, once nobody does. */
  z.object({ kind: z.literal('drop'), swarm: swarmIdSchema }),
])

export const heartbeatResponse = z.object({
  nextInMs: z.int().positive(),
  /** The tracker has no inventory of this node (it restarted): send the full inventory now. */
  wantsFullInventory: z.boolean(),
  serveCertificate: z.object({ certificate: pem, validForSeconds: count }).nullable(),
  trust: clusterTrust,
  revocationsVersion: count,
  /** Revocations after the asker's version; all in force if `isFullRevocations`. */
  revocations: z.array(revocationSchema),
  isFullRevocations: z.boolean(),
  ...{ ...restoreFields, ...locationNews },
  peers: z.array(z.object({ swarm: swarmIdSchema, peers: z.array(peerSchema) })),
  instructions: z.array(instructionSchema),
  /** The node is to stand aside: no pull of its machine goes through the swarm. Absent: no. */
  isPaused: z.boolean().optional(),
  /** Absent if the asker knows the list. */
  registries: registriesNews.optional(),
  /** The newest wire version that the tracker knows. Absent: an older tracker. */
  wire: z.int().positive().optional(),
  linkCertificate: z.object({ certificate: pem, validForSeconds: count }).nullable().optional(),
  /** Only what changed since the node was told last. An older tracker tells nothing. */
  holders: holdersNews.optional(),
  /** Where the node is listed, and whether the tracker opened a connection to it there. Absent: not tried yet. */
  listing: z.object({ address: z.string().max(64), port: count, isReached: z.boolean() }).optional(),
})

export type PullRequest = z.input<typeof pullRequest>
export type PullResponse = z.output<typeof pullResponse>
export type GrantedSwarm = z.output<typeof grantedSwarm>
export type RenewRequest = z.input<typeof renewRequest>
export type RenewResponse = z.output<typeof renewResponse>
export type HashesRequest = z.input<typeof hashesRequest>
export type HashesResponse = z.output<typeof hashesResponse>
export type CompleteRequest = z.input<typeof completeRequest>
export type CompleteResponse = z.output<typeof completeResponse>
export type HeartbeatRequest = z.input<typeof heartbeatRequest>
export type HeartbeatResponse = z.output<typeof heartbeatResponse>
export type Peer = z.output<typeof peerSchema>
export type Lease = z.output<typeof leaseSchema>
export type Credential = z.output<typeof credentialSchema>
export type ClusterTrust = z.output<typeof clusterTrust>
export type TokenKey = z.output<typeof tokenKeySchema>
export type Revocation = z.output<typeof revocationSchema>
