import type { Logger } from 'pino'
import type { Boundary } from '../../core/defects.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { HashesRequest, HashesResponse } from '../../core/tracker-api.ts'
import type { PieceBuffer, PieceBufferShare } from '../store/piece-buffers.ts'
import type { FallbackView } from './fallback-run.ts'
import type { RegistryAccess } from './registry-access.ts'

/** What the origin needs of its swarm. */
export interface OriginHost extends FallbackView {
  readonly epoch: number
  readonly buffers: PieceBufferShare
  readonly access: Pick<RegistryAccess, 'endsAtMs' | 'stream'>
  readonly log: Logger
  /** Of the swarm: for what nobody waits for. */
  readonly boundary: Boundary
  /** The first piece whose hash is not known; undefined when all are. */
  firstUnknownHash(): number | undefined
  /** From now on the piece comes from the registry, not from peers. */
  claim(piece: PieceIndex): void
  unclaim(piece: PieceIndex): void
  /** How long no block has come from a peer, and no piece within reach, in ms. */
  peersIdleMs(): number
  /** Verifies and stores a piece read from the registry. @returns its SHA-256 (32 bytes) */
  storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer>
  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse>
  /** Fetches have failed for so long, with no piece from anywhere, that readers must not wait on. */
  starved(): void
  /** Takes what the tracker said: batches, peers, epoch. */
  learn(answer: HashesResponse): void
}
