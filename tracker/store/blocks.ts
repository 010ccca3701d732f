import type { Digest } from '../../core/digest.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import type { RegistryHost, Repository } from '../../core/repository.ts'
import type { AuditEntry } from './audit.ts'

/** What must not be shared in a cluster. */
export type BlockTarget =
  | { kind: 'repository'; registry: RegistryHost; repository: Repository }
  | { kind: 'digest'; digest: Digest }

export interface BlockRecord {
  id: string
  cluster: ClusterId
  target: BlockTarget
  atMs: number
}

export interface BlocksRecord {
  /** The oldest first. */
  inForce: BlockRecord[]
  /** By cluster: the number of its newest block or removal. Numbers only rise. */
  versions: Map<ClusterId, number>
}

/** What a restored store adds to the numbers of its blocks, so that nodes take its list although they knew a newer one. */
export const BLOCKS_GAP = 1_000_000

export interface BlockStore {
  blocks(): Promise<BlocksRecord>
  /** @param block whose target is not blocked in its cluster */
  addBlock(block: BlockRecord, audit: AuditEntry): Promise<void>
  /** @returns false if no such block is in force; then nothing changes */
  removeBlock(id: string, audit: AuditEntry): Promise<boolean>
}

export function blockColumns({ id, cluster, target, atMs }: BlockRecord) {
  const {
    registry = null,
    repository = null,
    digest = null,
  } = { ...target } as Partial<Record<'registry' | 'repository' | 'digest', string>>
  return { id, cluster, registry, repository, digest, atMs }
}

/** @param rows all of the table, in the order of their numbers */
export function blocksOf(rows: readonly Record<string, unknown>[]): BlocksRecord {
  const versions = new Map(rows.map((row) => [row.cluster as ClusterId, row.changed as number]))
  const inForce = rows
    .filter((row) => row.is_removed === 0)
    .map((row): BlockRecord => {
      const { id, cluster, registry, repository, digest, at_ms: atMs } = row
      const target =
        digest === null ? { kind: 'repository', registry, repository } : { kind: 'digest', digest }
      return { id, cluster, target, atMs } as BlockRecord
    })
  return { inForce, versions }
}
