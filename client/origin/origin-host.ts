import type { Logger } from 'pino'
import type { Boundary } from '../../core/defects.ts'
import type { PieceIndex } from '../../core/metainfo.ts'
import type { HashesRequest, HashesResponse } from '../../core/tracker-api.ts'
import type { PieceBuffer, PieceBufferShare } from '../store/piece-buffers.ts'
import type { FallbackView } from './fallback-run.ts'
import type { PeersReach } from './origin-plan.ts'
import type { RegistryAccess } from './registry-access.ts'

/** The swarm as the origin sees it. */
export interface OriginHost extends FallbackView {
  readonly epoch: number
  readonly buffers: PieceBufferShare
  readonly access: Pick<RegistryAccess, 'areRangesIgnored' | 'endsAtMs' | 'limitedMs' | 'stream'>
  readonly log: Logger
  /** The swarm's boundary, for work that nobody awaits. */
  readonly boundary: Boundary
  /** The first piece whose hash is not known; undefined when all are. */
  firstUnknownHash(): number | undefined
  /** Reserves the piece for the registry: it is not requested from peers from now on. */
  claim(piece: PieceIndex): void
  unclaim(piece: PieceIndex): void
  /** Time since a block arrived from a peer or a piece came within reach, in ms. */
  peersIdleMs(): number
  peersReach(): PeersReach
  isTrackerOff(): boolean
  /** Verifies and stores a piece read from the registry, and takes over its buffer. @returns its SHA-256 (32 bytes) */
  storeFromRegistry(piece: PieceIndex, buffer: PieceBuffer, length: number): Promise<Buffer>
  askHashes(request: Omit<HashesRequest, 'pull'>): Promise<HashesResponse>
  /** Fetches have failed for so long, with no piece from anywhere, that readers must stop waiting. */
  starved(): void
  /** Applies the tracker's answer: batches, peers, epoch. */
  learn(answer: HashesResponse): void
}
