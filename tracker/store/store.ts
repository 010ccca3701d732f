import type { Digest } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { TokenKey } from '../../core/tracker-api.ts'
import type { AdministrationStore } from './administration.ts'
import type { AuditEntry } from './audit.ts'
import type { SharedStore } from './changes.ts'
import type { JoinTokenRecord, JoinTokenStore } from './join-tokens.ts'
import type { LeaseTerms } from './lease-terms.ts'
import type { MemoryStore } from './memory.ts'
import type { PauseStore } from './pauses.ts'
import type { RestoreStore } from './restores.ts'
import type { NewRevocation, RevocationsRecord } from './revocations.ts'

/** Who asked for a change, and when; for the audit log. */
export interface ActedBy {
  actor: string
  nowMs: number
}

/**
 * The tracker's persistent state. Two trackers may share one store: every method is one atomic step, and a swarm is saved
 * only over the version that was read. Secrets arrive sealed and leave sealed. Times are milliseconds since 1970. A
 * rejection with an error other than ShoalError means that the store is broken.
 */
export interface Store
  extends MemoryStore,
    JoinTokenStore,
    AdministrationStore,
    PauseStore,
    RestoreStore,
    SharedStore {
  /** The data key, sealed by the unlock key; undefined before the first start. */
  sealedDataKey(): Promise<Buffer | undefined>
  /** @throws StoreConflictError if there is one already */
  putSealedDataKey(sealed: Buffer): Promise<void>
  /**
   * Replaces the data key and every value that it seals, or nothing at all. The store's file no longer contains the old
   * values afterwards.
   * @param reseal if it throws, nothing changes
   */
  replaceDataKey(sealedDataKey: Buffer, reseal: Reseal, audit: AuditEntry): Promise<void>
  /** Newest first. */
  adminAuthorities(): Promise<AuthorityRecord[]>
  /** @param replaces deletes the earlier ones in the same step */
  addAdminAuthority(authority: AuthorityRecord, how: { replaces: boolean }, audit: AuditEntry): Promise<void>
  removeAdminAuthority(certificatePem: string, audit: AuditEntry): Promise<void>

  clusters(): Promise<ClusterRecord[]>
  /** @throws StoreConflictError if the id is taken */
  createCluster(cluster: ClusterRecord, joinToken: JoinTokenRecord, audit: AuditEntry): Promise<void>
  /** @param forgetsNodes deletes all nodes in the same step, so that each must join again */
  addAuthority(
    cluster: ClusterId,
    authority: AuthorityRecord,
    how: { forgetsNodes: boolean },
    audit: AuditEntry,
  ): Promise<void>
  removeAuthority(cluster: ClusterId, certificatePem: string, audit: AuditEntry): Promise<void>
  /** @param previousEndsAtMs sets in the same step when the key without an end ends */
  addBatchKey(
    cluster: ClusterId,
    key: BatchKeyRecord,
    how: { previousEndsAtMs: number },
    audit: AuditEntry,
  ): Promise<void>
  removeBatchKey(cluster: ClusterId, publicKey: string, audit: AuditEntry): Promise<void>

  /**
   * The node joined.
   * @param joinToken id of the token that a node which is not on record uses once
   * @returns false if the token was used up or withdrawn meanwhile; then nothing changes
   */
  putNode(node: NodeRecord, audit: AuditEntry, joinToken?: string): Promise<boolean>
  /** Like `putNode`, for a node on record. @returns false if it is not on record; then nothing changes */
  renewNode(node: NodeRecord, audit: AuditEntry): Promise<boolean>
  /** Forgets the node. @returns false if it is not on record */
  removeNode(cluster: ClusterId, node: NodeId, audit: AuditEntry): Promise<boolean>
  /** Whether the node is on record. */
  hasNode(cluster: ClusterId, node: NodeId): Promise<boolean>
  /** Nodes of one cluster or of all, ordered by cluster and node. */
  nodes(cluster?: ClusterId): Promise<NodeRecord[]>

  putPull(pull: PullRecord, audit: AuditEntry): Promise<void>
  pull(id: string): Promise<PullRecord | undefined>
  /** Sets the end of the pull's newest certificate, and the token that it is bound to. */
  extendPull(id: string, to: PullExtension, audit: AuditEntry): Promise<void>
  /** Marks the blob complete in all pulls of the node. */
  completePullBlobs(blob: NodeSwarm, atMs: number): Promise<void>
  /** Whether a pull granted at `sinceMs` or later gave the node this swarm. */
  hasPullSince(blob: NodeSwarm, sinceMs: number): Promise<boolean>
  /** The newest pull on record that gave the node this swarm. */
  newestPull(blob: NodeSwarm): Promise<PullRecord | undefined>

  /** The swarm's version, to check whether a copy in memory is the newest. */
  swarmVersion(cluster: ClusterId, swarm: SwarmId): Promise<number | undefined>
  loadSwarm(cluster: ClusterId, swarm: SwarmId): Promise<SwarmRecord | undefined>
  /** Creates it empty with epoch 0 and version 0, unless it exists. */
  ensureSwarm(identity: SwarmIdentity): Promise<void>
  /**
   * Applies the change and raises the version by one.
   * @throws StoreConflictError if the swarm is no longer at `expectedVersion`: load it and decide again
   */
  saveSwarm(swarm: SwarmId, expectedVersion: number, change: SwarmChange): Promise<void>
  /** SHA-1 of every piece, 20 bytes each, for stock clients. The first value stays until the epoch rises. */
  putPiecesSha1(swarm: SwarmId, node: NodeId, hashes: Buffer): Promise<void>
  piecesSha1(swarm: SwarmId): Promise<Buffer | undefined>
  /** Epoch rises after `sequence`, oldest first, at most EPOCH_CHANGES_MAX of the newest. */
  epochChanges(sequence: number): Promise<EpochChange[]>

  /** @returns the sequence number, which is above all earlier ones */
  addRevocation(revocation: NewRevocation, audit: AuditEntry): Promise<number>
  /** @returns false if no such revocation is in force */
  clearRevocation(sequence: number, audit: AuditEntry): Promise<boolean>
  /** All revocations in force, and the newest sequence numbers of a revocation and of a clearing. */
  revocations(): Promise<RevocationsRecord>

  /** Token keys that a probe confirmed, and withdrawn ones; the oldest probe first. */
  tokenKeys(): Promise<SealedTokenKey[]>
  /** Replaces the record with the same id. */
  putTokenKey(key: SealedTokenKey, audit: AuditEntry): Promise<void>
  removeTokenKey(id: string, audit: AuditEntry): Promise<void>

  addAudit(entry: AuditEntry): Promise<void>

  /**
   * Forgets everything from before `before`: ended pulls, leases and acceptances, audit entries, and nodes by their newest certificate.
   * Also forgets ended pulls of a node beyond its newest `pullsPerNodeMax`, and swarms without any published hash that no
   * pull names.
   * @returns how many nodes it forgot
   */
  prune(before: PruneBounds): Promise<{ nodes: number }>
  close(): Promise<void>
}

/** Times in ms; older records are forgotten. */
export interface PruneBounds {
  pulls: number
  audit: number
  nodes: number
  joinTokens: number
  now: number
  pullsPerNodeMax: number
}

/** Bound of one answer of `epochChanges`. */
export const EPOCH_CHANGES_MAX = 10_000

/** Kinds of values that the data key seals. */
export type SealedKind = 'joinToken' | 'authority' | 'batchKey' | 'adminAuthority' | 'adminToken' | 'tokenKey'
/** @param cluster '' for the admin authority and for token keys */
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
  /** From then on its signatures no longer count; null: no end until another key replaces it. */
  endsAtMs: number | null
}

export interface ClusterRecord {
  cluster: ClusterId
  name: string
  createdAtMs: number
  /** Newest first: the first one issues, all are trusted. */
  authorities: AuthorityRecord[]
  /** Newest first, like the authorities. */
  batchKeys: BatchKeyRecord[]
}

export interface NodeRecord {
  cluster: ClusterId
  node: NodeId
  /** Source address of the newest join or renewal. */
  address: string
  /** The first value stays. */
  joinedAtMs: number
  renewedAtMs: number
  wire: number
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
  /** The registry token's subject; '' if there is none. */
  subject: string
  /** SHA-256 (hex) of the token's signing input; null without a token. The token itself is never stored. */
  tokenHash: string | null
  /** RFC 7638 thumbprint (base64url) of the probed key that signed the token; null if no probed key was needed. */
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
  /** 16 hex digits of a hash over the registry, issuer, audience and key. */
  id: string
  key: TokenKey
  probedAtMs: number
  trustedUntilMs: number
  /** Null: not withdrawn. Withdrawn keys stay on record so that they are not trusted again. */
  withdrawnAtMs: number | null
}

/** @param sealed the record (pull/stored-token-keys.ts); null in what an earlier version stored */
export type SealedTokenKey = TokenKeyRecord & { sealed: Buffer | null }

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
  /** Absent in what an earlier version stored. */
  terms?: LeaseTerms
}

/**
 * A dispute of two nodes about one piece: between two publishers (`conflict`), or between a publisher and a node that
 * checked (`mismatch`). Or its sequel: a third node's hash of the piece (`witness`, both publisher and reporter), or the
 * tracker's own verdict (`settled`).
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

/** One step's change of a swarm. Pieces are dropped before others are put. */
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

/** An empty change of a swarm at this epoch. */
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
