import { createHash } from 'node:crypto'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'

/** Nodes that must agree on the SHA-1 hashes before stock clients get them. */
export const SHA1_WITNESSES = 2
/** Time for a node to deliver the SHA-1 hashes before another is asked. */
export const SHA1_PATIENCE_MS = 60_000
/** Bound of swarms that wait for their SHA-1 hashes. */
export const SHA1_ASKED_MAX = 10_000
/** Nodes heard per swarm and epoch: with this many contradictions nobody else is asked. */
const SPEAKERS_MAX = 32

/** The swarm, epoch and node that the SHA-1 hashes belong to. */
interface Sha1Question {
  swarm: SwarmId
  epoch: number
  node: NodeId
}

interface Waiting {
  epoch: number
  /** Deadline of each node's answer. */
  asked: Map<NodeId, number>
  /** Nodes that have answered: each may answer once. */
  spoken: Set<NodeId>
  /** SHA-256 of one node's answer. */
  claim: Buffer | undefined
}

/**
 * Which nodes were asked for a blob's SHA-1 hashes, and the first answer. Only two per blob are asked, as it costs each a
 * pass over all bytes. In memory only: after a restart the next two nodes that complete the blob are asked.
 */
export class Sha1Claims {
  readonly #waiting = new BoundedMap<SwarmId, Waiting>(SHA1_ASKED_MAX)

  /** Whether the node is asked: the first nodes to complete are, and the next one if one did not deliver. */
  isAsked({ swarm, epoch, node }: Sha1Question, nowMs: number): boolean {
    const waiting = this.#of(swarm, epoch) ?? { epoch, asked: new Map(), spoken: new Set(), claim: undefined }
    const { asked, spoken, claim } = waiting
    if (spoken.has(node) || spoken.size >= SPEAKERS_MAX) return false
    for (const [other, untilMs] of asked) if (untilMs <= nowMs) asked.delete(other)
    const isPlaceLeft = asked.size < SHA1_WITNESSES - (claim === undefined ? 0 : 1)
    if (!asked.has(node) && !isPlaceLeft) return false
    if (!asked.has(node)) asked.set(node, nowMs + SHA1_PATIENCE_MS)
    this.#waiting.set(swarm, waiting)
    return true
  }

  /**
   * Takes the answer of a node that was asked. If two answers differ, one of them is a lie: both are dropped and the
   * next two nodes are asked.
   * @param isConfirmed if false, the first answer is kept, and no second one is taken
   * @returns true if another node gave the same answer
   */
  take({ swarm, epoch, node }: Sha1Question, piecesSha1: Buffer, isConfirmed: boolean): boolean {
    const waiting = this.#of(swarm, epoch)
    if (waiting === undefined || (waiting.claim !== undefined && !isConfirmed)) return false
    if (!waiting.asked.delete(node)) return false
    waiting.spoken.add(node)
    const given = createHash('sha256').update(piecesSha1).digest()
    const { claim } = waiting
    waiting.claim = claim === undefined ? given : undefined
    return claim?.equals(given) === true
  }

  #of(swarm: SwarmId, epoch: number): Waiting | undefined {
    const waiting = this.#waiting.get(swarm)
    return waiting?.epoch === epoch ? waiting : undefined
  }
}
