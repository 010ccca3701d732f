import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { SealedAdminToken } from './admin-tokens.ts'
import type { AuditEntry } from './audit.ts'
import type { ImageLine, PullLine, SwarmLine } from './browse.ts'
import type { JoinTokenRecord } from './join-tokens.ts'
import type { AcceptanceRecord, Marked, MembershipRecord, PresenceRecord } from './memory.ts'
import type { NodeMarksRecord } from './node-marks.ts'
import type { PauseRecord } from './pauses.ts'
import type { LearnedRecord, RestoreRecord } from './restores.ts'
import type { RevocationRecord } from './revocations.ts'
import type {
  AuthorityRecord,
  BatchKeyRecord,
  ClusterRecord,
  DisputeRecord,
  EpochChange,
  LeaseRecord,
  NodeRecord,
  PublishedPiece,
  PullRecord,
  SealedTokenKey,
  SwarmRecord,
} from './store.ts'

/**
 * Rows of either database as the store's records: both have tables and columns of the same names. A row has strings,
 * safe integers, null and Uint8Arrays; truth is 0 or 1.
 */
export type Row = Record<string, unknown>

/** The admin authorities are stored with the clusters' under this name, which no cluster can have. */
export const ADMIN_CLUSTER = ''
/** Stands for all nodes of a cluster, in a column of a primary key. */
export const ALL_NODES = ''
/** How many of a swarm's newest disputes are loaded with it. */
export const DISPUTES_LOADED_MAX = 256
/** A swarm's id, and 1 for a seed. */
const HOLD_BYTES = 21

/** SQLite returns blobs as Uint8Array; the rest of the tracker uses Buffers over the same memory. */
export function bytes(value: unknown): Buffer {
  const array = value as Uint8Array
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}

export function adminTokenOf({ name, role, hash, sealed, ...row }: Row): SealedAdminToken {
  return {
    ...{ name, role, hash },
    ...{ createdAtMs: row.created_at_ms, endsAtMs: row.ends_at_ms },
    sealed: sealed === null ? null : bytes(sealed),
  } as SealedAdminToken
}

export function auditOf(row: Row): AuditEntry & { sequence: number } {
  return {
    sequence: row.sequence as number,
    atMs: row.at_ms as number,
    actor: row.actor as string,
    action: row.action as string,
    cluster: row.cluster as ClusterId | null,
    target: row.target as string,
  }
}

export function authorityOf(row: Row): AuthorityRecord {
  return {
    certificatePem: row.certificate_pem as string,
    sealedKey: bytes(row.sealed_key),
    createdAtMs: row.created_at_ms as number,
  }
}

export function batchKeyOf(row: Row): BatchKeyRecord {
  return {
    publicKey: row.public_key as string,
    sealedKey: bytes(row.sealed_key),
    createdAtMs: row.created_at_ms as number,
    endsAtMs: row.ends_at_ms as number | null,
  }
}

export function clusterOf(
  row: Row,
  keys: { authorities: AuthorityRecord[]; batchKeys: BatchKeyRecord[] },
): ClusterRecord {
  return {
    cluster: row.id as ClusterId,
    name: row.name as string,
    createdAtMs: row.created_at_ms as number,
    ...keys,
  }
}

export function joinTokenOf(row: Row): JoinTokenRecord {
  return {
    id: row.id as string,
    cluster: row.cluster as ClusterId,
    sealedHash: bytes(row.sealed_hash),
    createdAtMs: row.created_at_ms as number,
    validUntilMs: row.valid_until_ms as number | null,
    usesMax: row.uses_max as number | null,
    uses: row.uses as number,
    withdrawnAtMs: row.withdrawn_at_ms as number | null,
  }
}

export function nodeOf(row: Row): NodeRecord {
  return {
    cluster: row.cluster as ClusterId,
    node: row.node as NodeId,
    address: row.address as string,
    joinedAtMs: row.joined_at_ms as number,
    renewedAtMs: row.renewed_at_ms as number,
    wire: row.wire as number,
  }
}

export function nodeMarksOf({ cluster, node, ...row }: Row): NodeMarksRecord {
  return {
    ...{ cluster, node },
    ...{ labels: JSON.parse(row.labels as string), isDrained: row.is_drained === 1 },
  } as NodeMarksRecord
}

export function swarmLineOf({
  id: swarm,
  cluster,
  registry,
  digest,
  bytes,
  epoch,
  pieces,
  ...row
}: Row): SwarmLine {
  return {
    ...{ cluster, swarm, registry, digest, bytes, epoch, pieces },
    isConfirmed: row.is_confirmed === 1,
  } as SwarmLine
}

export function pullLineOf({
  id: pull,
  cluster,
  node,
  registry,
  repository,
  subject,
  blobs,
  ...row
}: Row): PullLine {
  return {
    ...{ pull, cluster, node, registry, repository, subject, blobs, completeBlobs: row.complete_blobs },
    ...{ grantedAtMs: row.granted_at_ms, expiresAtMs: row.expires_at_ms },
  } as PullLine
}

export function imageLineOf({ cluster, registry, repository, pulls, nodes, ...row }: Row): ImageLine {
  return { cluster, registry, repository, pulls, nodes, newestPullAtMs: row.newest_at_ms } as ImageLine
}

export function pauseOf(row: Row): PauseRecord {
  return {
    cluster: row.cluster as ClusterId,
    node: row.node === ALL_NODES ? null : (row.node as NodeId),
    atMs: row.at_ms as number,
  }
}

export function pullOf(row: Row, blobs: Row[]): PullRecord {
  return {
    pull: row.id,
    cluster: row.cluster,
    node: row.node,
    registry: row.registry,
    repository: row.repository,
    subject: row.subject,
    tokenHash: row.token_hash,
    tokenKey: row.token_key,
    spki: bytes(row.spki),
    grantedAtMs: row.granted_at_ms,
    expiresAtMs: row.expires_at_ms,
    blobs: blobs.map((blob) => ({
      swarm: blob.swarm,
      digest: blob.digest,
      isComplete: blob.completed_at_ms !== null,
    })),
  } as PullRecord
}

export function revocationOf({ sequence, cluster, kind, target, registry, subject, ...row }: Row) {
  return {
    ...{ sequence, cluster, kind, target, registry, subject },
    ...{ tokenHash: row.token_hash, atMs: row.at_ms, endsAtMs: row.ends_at_ms },
    isLeft: row.is_left === 1,
  } as RevocationRecord
}

export function restoreOf(row: Row): RestoreRecord {
  return {
    restoredAtMs: row.restored_at_ms as number,
    backupAtMs: row.backup_at_ms as number,
    revocationsFrom: row.revocations_from as number,
    confirmedAtMs: row.confirmed_at_ms as number | null,
  }
}

export function learnedOf({ cluster, id, copy, nodes }: Row): LearnedRecord {
  return { cluster, id, copy, nodes } as LearnedRecord
}

export function tokenKeyOf(row: Row): SealedTokenKey {
  return {
    id: row.id as string,
    key: JSON.parse(row.key as string),
    probedAtMs: row.probed_at_ms as number,
    trustedUntilMs: row.trusted_until_ms as number,
    withdrawnAtMs: row.withdrawn_at_ms as number | null,
    sealed: row.sealed === null ? null : bytes(row.sealed),
  }
}

export function epochChangeOf(row: Row): EpochChange {
  const { sequence, cluster, swarm, epoch } = row
  return { sequence, cluster, swarm, epoch } as EpochChange
}

/** All rows that belong to one swarm. */
export interface SwarmRows {
  swarm: Row
  /** In order of `piece`. */
  pieces: Row[]
  leases: Row[]
  completions: Row[]
  /** Oldest first. */
  disputes: Row[]
  hasPiecesSha1: boolean
}

export function swarmOf({ swarm: row, ...rows }: SwarmRows): SwarmRecord {
  return {
    cluster: row.cluster,
    swarm: row.id,
    registry: row.registry,
    digest: row.digest,
    bytes: row.bytes,
    version: row.version,
    epoch: row.epoch,
    isConfirmed: row.is_confirmed === 1,
    hasPiecesSha1: rows.hasPiecesSha1,
    pieces: rows.pieces.map(pieceOf),
    leases: rows.leases.map(leaseOf),
    completions: rows.completions.map(({ node }) => node as NodeId),
    disputes: rows.disputes.map(disputeOf),
  } as SwarmRecord
}

function pieceOf(row: Row): PublishedPiece {
  return {
    piece: row.piece as number,
    hash: bytes(row.hash),
    node: row.node as NodeId,
    pull: row.pull as string,
  }
}

function leaseOf(row: Row): LeaseRecord {
  return {
    lease: row.id as string,
    node: row.node as NodeId,
    pull: row.pull as string,
    firstPiece: row.first_piece as number,
    pieces: row.pieces as number,
    expiresAtMs: row.expires_at_ms as number,
    ...(row.terms === null ? {} : { terms: JSON.parse(row.terms as string) }),
  }
}

/** For the column `terms`. */
export function termsText({ terms }: LeaseRecord): string | null {
  return terms === undefined ? null : JSON.stringify(terms)
}

function disputeOf(row: Row): DisputeRecord {
  return {
    kind: row.kind as DisputeRecord['kind'],
    epoch: row.epoch as number,
    piece: row.piece as number,
    publisher: row.publisher as NodeId,
    publisherPull: row.publisher_pull as string,
    publishedHash: bytes(row.published_hash),
    reporter: row.reporter as NodeId,
    reportedHash: bytes(row.reported_hash),
    atMs: row.at_ms as number,
  }
}

export function presenceOf({ cluster, node, address, port, wire, zone, rack, holds }: Row): PresenceRecord {
  const location = { zone, rack }
  return { cluster, node, address, port, wire, ...location, holds: holdsOf(bytes(holds)) } as PresenceRecord
}

export function acceptanceOf({ id, digest, until_ms: untilMs, mark }: Row): Marked<AcceptanceRecord> {
  return { id, digest, untilMs, mark: mark === null ? null : bytes(mark) } as Marked<AcceptanceRecord>
}

export function membershipOf({ id, bytes: length, until_ms: untilMs, mark }: Row): Marked<MembershipRecord> {
  return {
    id,
    bytes: length,
    untilMs,
    mark: mark === null ? null : bytes(mark),
  } as Marked<MembershipRecord>
}

/** @returns HOLD_BYTES for each */
export function packHolds(holds: PresenceRecord['holds']): Buffer {
  const packed = Buffer.alloc(holds.length * HOLD_BYTES)
  for (const [index, { swarm, isSeed }] of holds.entries()) {
    packed.write(swarm, index * HOLD_BYTES, 'hex')
    packed[index * HOLD_BYTES + HOLD_BYTES - 1] = isSeed ? 1 : 0
  }
  return packed
}

function holdsOf(packed: Buffer): PresenceRecord['holds'] {
  const holds: PresenceRecord['holds'] = []
  for (let at = 0; at + HOLD_BYTES <= packed.length; at += HOLD_BYTES) {
    const swarm = packed.toString('hex', at, at + HOLD_BYTES - 1) as SwarmId
    holds.push({ swarm, isSeed: packed[at + HOLD_BYTES - 1] === 1 })
  }
  return holds
}
