import { createHash } from 'node:crypto'
import type { z } from 'zod'
import type { batchesRequest } from '../../core/batches-api.ts'
import type { HashBatch } from '../../core/hash-batch.ts'
import type { SwarmId } from '../../core/metainfo.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import type { TrackerParts } from '../parts.ts'
import { batchOf } from '../swarm/signed-batches.ts'
import type { SwarmState } from '../swarm/swarm-state.ts'

export type BatchesQuestion = z.output<typeof batchesRequest>
type Run = BatchesQuestion['runs'][number]

/**
 * Signs the node's hashes again with the current key. The node needs no pull on record, because holders serve for longer
 * than pulls are kept. Knowing the hashes is enough, because the answer tells nothing else. An unknown swarm and
 * different hashes get the same answer.
 */
export async function renewBatches(
  parts: TrackerParts,
  { cluster }: NodeCaller,
  swarm: SwarmId,
  { epoch, runs }: BatchesQuestion,
): Promise<{ batches: HashBatch[] }> {
  if ((await parts.store.swarmVersion(cluster.cluster, swarm)) === undefined) return { batches: [] }
  const { batchKey } = cluster.signingKey
  return parts.swarms.step(cluster.cluster, swarm, (state) => {
    const known = state.epoch === epoch ? runs.filter((run) => isPublishedRun(state, run)) : []
    return { batches: known.map((run) => batchOf(state, batchKey, run.firstPiece, run.pieces)) }
  })
}

function isPublishedRun(state: SwarmState, { firstPiece, pieces, sha256 }: Run): boolean {
  const end = firstPiece + pieces
  if (end > state.layout.pieceCount) return false
  for (let piece = firstPiece; piece < end; piece += 1) if (!state.isPublished(piece)) return false
  const hashes = state.hashesOf(firstPiece, pieces)
  return createHash('sha256').update(hashes).digest('base64url') === sha256
}
