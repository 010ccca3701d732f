import type { Digest } from '../../core/digest.ts'
import type { ClusterId, NodeId, SwarmId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { AuditEntry, AuditFilter } from './audit.ts'

/** What administrators look through, in parts. A filter that is null lets everything through. */

export interface SwarmLine {
  cluster: ClusterId
  swarm: SwarmId
  registry: RegistryHost
  digest: Digest
  bytes: number
  epoch: number
  isConfirmed: boolean
  /** Pieces whose hash is published. */
  pieces: number
}

export interface SwarmFilter {
  cluster: ClusterId | null
  registry: string | null
  digest: string | null
  /** Only above this id; '' for the first part. */
  after: string
  limit: number
}

export interface PullLine {
  pull: string
  cluster: ClusterId
  node: NodeId
  registry: RegistryHost
  repository: Repository
  /** The registry token's subject; '' if there is none. */
  subject: string
  grantedAtMs: number
  /** End of its newest certificate. */
  expiresAtMs: number
  blobs: number
  completeBlobs: number
}

export interface PullFilter {
  cluster: ClusterId | null
  node: NodeId | null
  registry: string | null
  repository: string | null
  /** Only before this one; null for the first part. */
  before: { grantedAtMs: number; pull: string } | null
  limit: number
}

/** A repository that was pulled from: the tracker hears of blobs and repositories, never of tags. */
export interface ImageLine {
  cluster: ClusterId
  registry: string
  repository: string
  pulls: number
  nodes: number
  newestPullAtMs: number
}

export interface ImageFilter {
  cluster: ClusterId | null
  registry: string | null
  repository: string | null
  /** Only after this one; empty texts for the first part. */
  after: { cluster: string; registry: string; repository: string }
  limit: number
}

export interface ImageBlobsAsked {
  cluster: ClusterId
  registry: string
  repository: string
  /** Only above this swarm's id; '' for the first part. */
  after: string
  limit: number
}

export interface BrowseStore {
  /** Newest first. */
  audit(filter: AuditFilter): Promise<(AuditEntry & { sequence: number })[]>
  /** In order of their ids. */
  swarmLines(filter: SwarmFilter): Promise<SwarmLine[]>
  /** Newest first. */
  pullLines(filter: PullFilter): Promise<PullLine[]>
  /** In order of cluster, registry and repository. */
  imageLines(filter: ImageFilter): Promise<ImageLine[]>
  /** The blobs that pulls on record took from a repository, in order of their swarms' ids. */
  imageBlobs(asked: ImageBlobsAsked): Promise<SwarmLine[]>
}
