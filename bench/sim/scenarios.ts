/** What is simulated: the links, the blob, and how the nodes of each scenario differ. */

export const SCENARIO_NAMES = ['flash', 'trickle', 'slow', 'deaths'] as const
export type ScenarioName = (typeof SCENARIO_NAMES)[number]

export const PIECE_COUNT = 128
export const PIECE_BYTES = 4 * 1024 * 1024
export const BLOB_BYTES = PIECE_COUNT * PIECE_BYTES
/** 1 Gbit/s each way. */
export const NODE_BYTES_PER_MS = 125_000
export const REGISTRY_BYTES_PER_MS = 4 * NODE_BYTES_PER_MS
export const BLOB_MS = BLOB_BYTES / NODE_BYTES_PER_MS

/** Blob times that the arrivals of `trickle` are spread over. */
const TRICKLE_BLOBS = 10
/** Share of nodes that are slow, or die. */
export const ODD_SHARE = 1 / 10
const SLOW_SPEED = 1 / 10

export interface NodePlan {
  arrivesAtMs: number
  bytesPerMs: number
  /** Infinity for a node that lives. */
  diesAtMs: number
}

export function planNodes(scenario: ScenarioName, nodes: number, random: () => number): NodePlan[] {
  return Array.from({ length: nodes }, () => {
    const isOdd = random() < ODD_SHARE
    return {
      arrivesAtMs: scenario === 'trickle' ? random() * TRICKLE_BLOBS * BLOB_MS : 0,
      bytesPerMs: scenario === 'slow' && isOdd ? NODE_BYTES_PER_MS * SLOW_SPEED : NODE_BYTES_PER_MS,
      diesAtMs: scenario === 'deaths' && isOdd ? random() * BLOB_MS : Number.POSITIVE_INFINITY,
    }
  })
}

/**
 * The least time in which a node can have the blob: (K + log2 N)/K × max(S/R, S/B, N·S/(R + ΣB)).
 * @param bytesPerMs this node's own link
 * @param totalBytesPerMs of all nodes' uplinks
 */
export function limitMs(nodes: number, bytesPerMs: number, totalBytesPerMs: number): number {
  const rounds = (PIECE_COUNT + Math.log2(nodes)) / PIECE_COUNT
  const shared = (nodes * BLOB_BYTES) / (REGISTRY_BYTES_PER_MS + totalBytesPerMs)
  return rounds * Math.max(BLOB_BYTES / REGISTRY_BYTES_PER_MS, BLOB_BYTES / bytesPerMs, shared)
}
