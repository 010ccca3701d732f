import type { Digest } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { TokenKey } from '../../core/tracker-api.ts'

/** Who asked for a change, and when: for the audit log. */
export interface ActedBy {
  actor: string
  nowMs: number
}

/**
 * Everything of the tracker that outlives it. Two trackers may share one store: every method is one atomic step,
 * and a swarm is saved only over the version that it was read at. Secrets arrive sealed and leave sealed.
 * Times are milliseconds since 1970. A rejected promise that is no ShoalError means the store is broken.
 */
export interface Store {
  /** The data key, sealed by the unlock key; undefined before the first start. */
  sealedDataKey(): Promise<Buffer | undefined>
  /** @throws StoreConflictError when there is one already */
  putSealedDataKey(sealed: Buffer): Promise<void>
  /**
   * Replaces the data key and every value that it seals, or nothing at all; nor can the old ones be read from the
   * store's file afterwards.
   * @param reseal whose error leaves all as it was
   */
  replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void>
  /** Newest first. */
  adminAuthorities(): Promise<AuthorityRecord[]>
  /** @param replaces in the same step: the earlier ones are gone */
  addAdminAuthority(authority: AuthorityRecord, how: { replaces: boolean }, audit: AuditEntry): Promise<void>
  removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void>

  clusters(): Promise<ClusterRecord[]>
  /** @throws StoreConflictError when the id is taken */
  createCluster(cluster: ClusterRecord, audit: AuditEntry): Promise<void>
  putJoinToken(cluster: ClusterId, token: JoinTokenRecord, audit: AuditEntry): Promise<void>
  /** @param forgetsNodes in the same step, so that each must join again */
  addAuthority(
    cluster: ClusterId,
    authority: AuthorityRecord,
    how: { forgetsNodes: boolean },
    audit: AuditEntry,
  ): Promise<void>
  removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void>
  /** @param previousEndsAtMs when the key that has no end yet ends, in the same step */
  addBatchKey(
    cluster: ClusterId,
    key: BatchKeyRecord,
    how: { previousEndsAtMs: number },
    audit: AuditEntry,
  ): Promise<void>
  removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void>

  /** The node joined. */
  putNode(node: NodeRecord, audit: AuditEntry): Promise<void>
  /** As `putNode` for a node that is on record. @returns false, and nothing is changed, when it is not */
  renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean>
  /** Whether the node is on record. */
  hasNode(cluster: ClusterId, node: NodeId): Promise<boolean>
  /** Of one cluster, or of all; by cluster and node. */
  nodes(cluster?: ClusterId): Promise<NodeRecord[]>

  putPull(pull: PullRecord, audit: AuditEntry): Promise<void>
  pull(id: string): Promise<PullRecord | undefined>
  /** Sets when the pull's newest certificate ends, and which token it is bound to. */
  extendPull(id: string, to: PullExtension, audit: AuditEntry): Promise<void>
  /** Marks the blob complete in all pulls of the node. */
  completePullBlobs(blob: NodeSwarm, atMs: number): Promise<void>
  /** True when a pull that was granted at `sinceMs` or later gave the node this swarm. */
  hasPullSince(blob: NodeSwarm, sinceMs: number): Promise<boolean>
  /** The newest pull on record that gave the node this swarm. */
  newestPull(blob: NodeSwarm): Promise<PullRecord | undefined>

  /** The swarm's version, to see whether a copy in memory is still the newest. */
  swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined>
  loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined>
  /** Creates it empty with epoch 0 and version 0, unless it exists. */
  ensureSwarm(identity: SwarmIdentity): Promise<void>
  /**
   * Applies the change and raises the version by one.
   * @throws StoreConflictError when the swarm is not at `expectedVersion` any more: load it and decide again
   */
  saveSwarm(swarm: SwarmId, expectedVersion: number, change: SwarmChange): Promise<void>
  /** SHA-1 of every piece, 20 bytes each, for stock clients. Kept as first given, until the epoch rises. */
  putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void>
  piecesSha1(swarm: SwarmId): Promise<Buffer | undefined>
  /** Epoch rises after `sequence`, oldest first, at most EPOCH_CHANGES_MAX of the newest. */
  epochChanges(sequence: number): Promise<EpochChange[]>

  /** @returns its sequence number, which is above all earlier ones */
  addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number>
  /** @returns false when no such revocation is in force */
  clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean>
  /** All that is in force, and the newest sequence number of a revocation and of a clearing. */
  revocations(): Promise<RevocationsRecord>

  /** Token keys that a probe confirmed, and withdrawn ones; the oldest probe first. */
  tokenKeys(): Promise<TokenKeyRecord[]>
  /** In place of what was on record under its id. */
  putTokenKey(key: TokenKeyRecord, audit: AuditEntry): Promise<void>
  removeTokenKey(id: string, audit: AuditEntry): Promise<void>

  addAudit(entry: AuditEntry): Promise<void>
  /** Newest first, below `beforeSequence` when given. */
  audit(options: { limit: number; beforeSequence?: number }): Promise<(AuditEntry & { sequence: number })[]>

  /**
   * Forgets pulls and leases that ended, audit entries, and nodes whose newest certificate is, from before `before`; of each node's pulls also those that
   * have ended beyond the newest `pullsPerNodeMax`; and swarms of which nobody had ever published a hash, once no pull
   * names them.
   * @returns how many nodes it forgot
   */
  prune(before: PruneBounds): Promise<{ nodes: number }>
  close(): Promise<void>
}

/** Times in ms, before which is forgotten. */
export interface PruneBounds {
  pulls: number
  audit: number
  nodes: number
  now: number
  pullsPerNodeMax: number
}

/** Bound of one answer of `epochChanges`. */
export const EPOCH_CHANGES_MAX = 10_000

/** What the data key seals. */
export type SealedKind = 'joinToken' | 'authority' | 'batchKey' | 'adminAuthority'
/** @param cluster '' for the admin authority */
export type Reseal = (kind: SealedKind, cluster: ClusterId | '', sealed: Buffer) => Buffer

export interface AuthorityRecord {
  certificatePem: string
  /** PKCS#8 PEM, sealed. */
  sealedKey: Buffer
  createdAtMs: number
}

export interface BatchKeyRecord {
  /** Raw Ed25519 public key, base64url. */
  publicKey: string
  sealedKey: Buffer
  createdAtMs: number
  /** From then on what it signed counts no more; null: until another one comes. */
  endsAtMs: number | null
}

export interface JoinTokenRecord {
  /** SHA-256 (hex) of the whole token, sealed. */
  sealedHash: Buffer
  /** Null: until it is replaced. */
  validUntilMs: number | null
}

export interface ClusterRecord {
  cluster: ClusterId
  name: string
  createdAtMs: number
  joinToken: JoinTokenRecord
  /** Newest first: the first one issues, all are trusted. */
  authorities: AuthorityRecord[]
  /** Newest first, as the authorities. */
  batchKeys: BatchKeyRecord[]
}

export interface NodeRecord {
  cluster: ClusterId
  node: NodeId
  /** Source address of the newest join or renewal. */
  address: string
  /** Kept as first given. */
  joinedAtMs: number
  renewedAtMs: number
}

export interface NodeSwarm {
  cluster: ClusterId
  node: NodeId
  swarm: SwarmId
}

export interface PullRecord {
  pull: string
  cluster: ClusterId
  node: NodeId
  registry: RegistryHost
  repository: Repository
  /** The registry token's subject; '' when there is none. */
  subject: string
  /** SHA-256 (hex) of the token's signing input; null without a token. The token itself is never stored. */
  tokenHash: string | null
  /** RFC 7638 thumbprint (base64url) of the probed key that the token was signed with; null where none was needed. */
  tokenKey: string | null
  spki: Buffer
  grantedAtMs: number
  expiresAtMs: number
  blobs: PullBlobRecord[]
}

export type PullExtension = Pick<PullRecord, 'expiresAtMs' | 'tokenHash'>

export interface PullBlobRecord {
  swarm: SwarmId
  digest: Digest
  isComplete: boolean
}

export interface TokenKeyRecord {
  /** 16 hex digits: of the registry, issuer, audience and key. */
  id: string
  key: TokenKey
  probedAtMs: number
  trustedUntilMs: number
  /** Null: not withdrawn. Withdrawn keys stay on record, so that they are not trusted again. */
  withdrawnAtMs: number | null
}

export interface SwarmIdentity {
  cluster: ClusterId
  swarm: SwarmId
  registry: RegistryHost
  digest: Digest
  bytes: number
}

export interface SwarmRecord extends SwarmIdentity {
  version: number
  epoch: number
  isConfirmed: boolean
  hasPiecesSha1: boolean
  pieces: PublishedPiece[]
  leases: LeaseRecord[]
  /** Nodes that matched the whole blob under this epoch's hashes. */
  completions: NodeId[]
  disputes: DisputeRecord[]
}

export interface PublishedPiece {
  piece: number
  /** SHA-256, 32 bytes. */
  hash: Buffer
  node: NodeId
  pull: string
}

export interface LeaseRecord {
  lease: string
  node: NodeId
  pull: string
  firstPiece: number
  pieces: number
  expiresAtMs: number
}

/**
 * Two nodes that say different things of one piece: two publishers (`conflict`), or a publisher and a node that checked
 * (`mismatch`). And what came of it: a third node's hash of the piece (`witness`, which is publisher and reporter in one),
 * or that the tracker found out itself who was wrong (`settled`).
 */
export interface DisputeRecord {
  kind: 'conflict' | 'mismatch' | 'witness' | 'settled'
  epoch: number
  piece: number
  publisher: NodeId
  publisherPull: string
  publishedHash: Buffer
  reporter: NodeId
  reportedHash: Buffer
  atMs: number
}

/** What one step does to a swarm. Pieces are dropped before others are put. */
export interface SwarmChange {
  epoch: number
  isConfirmed: boolean
  dropPieces: number[]
  putPieces: PublishedPiece[]
  dropLeases: string[]
  putLeases: LeaseRecord[]
  dropCompletions: boolean
  addCompletions: NodeId[]
  addDisputes: DisputeRecord[]
  audit: AuditEntry[]
}

/** A step that does nothing yet, to a swarm at this epoch. */
export function emptyChange({ epoch, isConfirmed }: Pick<SwarmChange, 'epoch' | 'isConfirmed'>): SwarmChange {
  return {
    epoch,
    isConfirmed,
    dropPieces: [],
    putPieces: [],
    dropLeases: [],
    putLeases: [],
    dropCompletions: false,
    addCompletions: [],
    addDisputes: [],
    audit: [],
  }
}

export interface EpochChange {
  sequence: number
  cluster: ClusterId
  swarm: SwarmId
  epoch: number
}

export interface NewRevocation {
  cluster: ClusterId
  kind: 'node' | 'pull'
  /** Node id or pull id. */
  target: string
  /** Whose tokens are barred as well: the pull's registry and subject; null for none. */
  registry: RegistryHost | null
  subject: string | null
  /** SHA-256 (hex) of the signing input of a token that is barred as well; null for none. */
  tokenHash: string | null
  atMs: number
  /** When it is to be cleared; null: by an administrator only. */
  endsAtMs: number | null
}

export interface RevocationRecord extends NewRevocation {
  sequence: number
}

export interface RevocationsRecord {
  inForce: RevocationRecord[]
  newestSequence: number
  newestClearing: number
}

/** Who did what, when. Holds names and ids, never values. */
export interface AuditEntry {
  atMs: number
  /** `admin <start of its certificate's SHA-256>`, `tracker`, `node <id>`, or `operator` (on the tracker's machine). */
  actor: string
  /** Constant text: `cluster created`, `pull granted`, … */
  action: string
  cluster: ClusterId | null
  /** What it was done to: a node, pull, swarm or revocation. */
  target: string
}
