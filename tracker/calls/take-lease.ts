import { randomUUID } from 'node:crypto'
import type { Lease } from '../../core/tracker-api.ts'
import type { NodeCaller } from '../authority/node-caller.ts'
import { type LeasePolicy, oneReader, onlyFirstPieces, type PieceRun } from '../handout/leases.ts'
import type { TrackerParts } from '../parts.ts'
import type { SwarmState } from '../swarm/swarm-state.ts'

/** Who asks for a lease, and from which position it reads the blob. */
export interface LeaseAsker {
  caller: NodeCaller
  pull: string
  position: number
  /** When the call came. */
  nowMs: number
  /** Pieces that did not arrive although the asker waited for them. */
  awaited?: readonly PieceRun[]
}

/** The next lease by the tracker's policy, in its wire form (with a relative end, as clocks differ), or null. */
export function takeLease(
  parts: TrackerParts,
  state: SwarmState,
  { caller, pull, position, nowMs, awaited = [] }: LeaseAsker,
): Lease | null {
  const { cluster, registry } = state.identity
  if (parts.registryLimits.leftMs(cluster, registry, nowMs) > 0) return null
  const leaseMs = parts.times.leaseSeconds * 1000
  const taken = state.lease({
    lease: randomUUID(),
    node: caller.node,
    pull,
    position,
    awaited,
    nowMs,
    leaseMs,
    policy: state.isRangeIgnored({ nowMs, leaseMs }) ? oneReader : policyFor(state, parts.leasePolicy),
  })
  if (taken === undefined) return null
  const { lease, firstPiece, pieces, firstPieces, expiresAtMs } = taken
  return {
    ...{ lease, swarm: state.identity.swarm, firstPiece },
    pieces: firstPieces,
    endPiece: firstPiece + pieces,
    expiresInMs: expiresAtMs - nowMs,
  }
}

function policyFor({ status }: SwarmState, policy: LeasePolicy): LeasePolicy {
  return status === 'cold' ? policy : onlyFirstPieces(policy)
}
