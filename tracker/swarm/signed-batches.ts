import type { KeyObject } from 'node:crypto'
import { BATCH_PIECES_MAX, batchPieceCount, type HashBatch, signHashBatch } from '../../core/hash-batch.ts'
import type { SwarmState } from './swarm-state.ts'

/**
 * Hashes of a swarm as signed batches. Nothing signed is stored: Ed25519 signs the same bytes the same way, and a
 * batch costs about 50 microseconds.
 */

/** Bound of pieces whose hashes are in one answer (512 KiB); a node that lacks more asks again from there on. */
export const ANSWER_PIECES_MAX = 4 * BATCH_PIECES_MAX

interface SignedSwarm {
  key: KeyObject
  epoch: number
  status: string
  publishedCount: number
  batches: HashBatch[]
}

/** The newest batches of each swarm in memory; within an epoch, hashes are only ever added. */
const signedBySwarm = new WeakMap<SwarmState, SignedSwarm>()

/** Batches of all published pieces from `firstPiece` on, joined where possible; at most ANSWER_PIECES_MAX pieces. */
export function batchesFrom(state: SwarmState, key: KeyObject, firstPiece: number): HashBatch[] {
  const wanted: HashBatch[] = []
  let pieces = 0
  for (const batch of allBatches(state, key)) {
    const count = batchPieceCount(batch)
    if (batch.firstPiece + count <= firstPiece) continue
    if (pieces + count > ANSWER_PIECES_MAX) break
    pieces += count
    wanted.push(batch)
  }
  return wanted
}

/** Pieces [firstPiece, firstPiece + pieces), all published. */
export function batchOf(state: SwarmState, key: KeyObject, firstPiece: number, pieces: number): HashBatch {
  return signHashBatch(key, state.identity.cluster, {
    swarm: state.identity.swarm,
    epoch: state.epoch,
    status: state.status === 'confirmed' ? 'confirmed' : 'claimed',
    firstPiece,
    // Copy the bytes: the state changes its own when a piece is disputed.
    hashes: Buffer.from(state.hashesOf(firstPiece, pieces)),
  })
}

function allBatches(state: SwarmState, key: KeyObject): HashBatch[] {
  const { epoch, status, publishedCount } = state
  const known = signedBySwarm.get(state)
  const isCurrent =
    known?.key === key &&
    known.epoch === epoch &&
    known.status === status &&
    known.publishedCount === publishedCount
  if (isCurrent) return known.batches
  const runs = publishedRuns(state, 0, state.layout.pieceCount)
  const batches = runs.map((run) => batchOf(state, key, run.firstPiece, run.pieces))
  signedBySwarm.set(state, { key, epoch, status, publishedCount, batches })
  return batches
}

/** The published pieces of [from, to), in runs that fit one batch. */
export function publishedRuns(
  state: SwarmState,
  from: number,
  to: number,
): { firstPiece: number; pieces: number }[] {
  const runs: { firstPiece: number; pieces: number }[] = []
  for (let piece = from; piece < to; ) {
    const firstPiece = piece
    while (piece < to && piece - firstPiece < BATCH_PIECES_MAX && state.isPublished(piece)) piece += 1
    if (piece > firstPiece) runs.push({ firstPiece, pieces: piece - firstPiece })
    else piece += 1
  }
  return runs
}
