import { createHash } from 'node:crypto'
import { BoundedMap } from '../../core/bounded-map.ts'
import type { NodeId, SwarmId } from '../../core/metainfo.ts'

/** Nodes that must have given the same SHA-1 hashes before stock clients get them. */
export const SHA1_WITNESSES = 2
/** How long a node has to bring the SHA-1 hashes before another is asked. */
export const SHA1_PATIENCE_MS = 60_000
/** Bound of swarms that wait for their SHA-1 hashes. */
export const SHA1_ASKED_MAX = 10_000
/** Nodes whose word was taken, per swarm and epoch: with so many contradictions nobody else is asked. */
const SPEAKERS_MAX = 32

/** Which swarm, as whose hashes the SHA-1 hashes are to be. */
interface Sha1Question {
  swarm: SwarmId
  epoch: number
  node: NodeId
}

interface Waiting {
  epoch: number
  /** Until when each node may answer. */
  asked: Map<NodeId, number>
  /** Nodes whose word was taken: each has one. */
  spoken: Set<NodeId>
  /** SHA-256 of what one node gave. */
  claim: Buffer | undefined
}

/**
 * Which nodes were asked for a blob's SHA-1 hashes, and what the first of them said: two per blob, as it costs each a
 * pass over all bytes. In memory only: after a restart the next two nodes that complete the blob are asked.
 */
export class Sha1Claims {
  readonly #waiting = new BoundedMap<SwarmId, Waiting>(SHA1_ASKED_MAX)

  /** True when the node is among those that are asked: the first to complete, or the next when one did not deliver. */
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
   * Takes the word of a node that was asked. Another than that of the node before ends both: one of them lies, and the
   * next two are asked.
   * @param isConfirmed while the swarm is not, the first word is kept, and no second one is taken
   * @returns true when another node has given the same
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
