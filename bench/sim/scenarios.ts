import { pieceLayout } from '../../core/metainfo.ts'
import { trackerConfig } from '../../tracker/config.ts'

/** Defines the links, the blob, and how the nodes of each scenario differ. */

export const SCENARIO_NAMES = [
  'flash',
  'trickle',
  'slow',
  'deaths',
  'pause',
  'long-pause',
  'tracker-loss',
] as const
export type ScenarioName = (typeof SCENARIO_NAMES)[number]

/** As in `npm run bench:fleet`, so that the two can be compared: a layer of 128 pieces. */
export const LAYOUT = pieceLayout(128 * 1024 * 1024)
/** Larger than the client's, for speed: two make a piece. */
export const BLOCK_BYTES = LAYOUT.pieceBytes / 2
/** 64 Mbit/s each way, minus headers. */
export const NODE_BYTES_PER_MS = 7_650
export const REGISTRY_BYTES_PER_MS = 4 * NODE_BYTES_PER_MS
export const BLOB_MS = LAYOUT.blobBytes / NODE_BYTES_PER_MS
export const HEARTBEAT_MS = trackerConfig.shape.heartbeatSeconds.parse(undefined) * 1000

/** Length of the arrivals of `trickle`, in blob times. */
const TRICKLE_BLOBS = 10
/** Share of nodes that are slow, or die; at least one. */
export const ODD_SHARE = 1 / 10
const SLOW_SPEED = 1 / 10

/** From the release on the tracker answers nothing for this time, in ms. In the other scenarios it answers at once. */
export const PAUSE_MS: Partial<Record<ScenarioName | 'warm', number>> = { pause: 1_000, 'long-pause': 1_900 }

/**
 * When one of three trackers is lost in `tracker-loss`, in blob times: pieces are leased then, and few nodes have many. Its nodes
 * ask another one within a heartbeat; what they were told stays true, as the store has it.
 */
const LOST_AT_BLOBS = 1 / 8
const LOST_SHARE = 1 / 3

export interface NodePlan {
  /** The tracker answers none of its calls from then on … */
  cutOffAtMs: number
  /** … until then: another tracker does. */
  cutOffUntilMs: number
  arrivesAtMs: number
  bytesPerMs: number
  /** Infinity for a node that lives. */
  diesAtMs: number
  /** Has the blob from the start. */
  isSeed: boolean
}

/** Nodes of a scenario; `warm` is `flash` with one more node, the first, that has the blob. */
export function planNodes(scenario: ScenarioName | 'warm', nodes: number, random: () => number): NodePlan[] {
  let hasOdd = false
  return Array.from({ length: scenario === 'warm' ? nodes + 1 : nodes }, (_, id) => {
    // At least one is slow, or dies, where only a few nodes are.
    const isOdd = random() < ODD_SHARE || (!hasOdd && id === nodes - 1)
    hasOdd ||= isOdd
    return {
      arrivesAtMs: scenario === 'trickle' ? random() * TRICKLE_BLOBS * BLOB_MS : 0,
      bytesPerMs: scenario === 'slow' && isOdd ? NODE_BYTES_PER_MS * SLOW_SPEED : NODE_BYTES_PER_MS,
      diesAtMs: scenario === 'deaths' && isOdd ? random() * BLOB_MS : Number.POSITIVE_INFINITY,
      isSeed: scenario === 'warm' && id === 0,
      ...cutOff(scenario, random),
    }
  })
}

function cutOff(scenario: ScenarioName | 'warm', random: () => number) {
  if (scenario !== 'tracker-loss' || random() >= LOST_SHARE) return { cutOffAtMs: 0, cutOffUntilMs: 0 }
  const cutOffAtMs = LOST_AT_BLOBS * BLOB_MS
  return { cutOffAtMs, cutOffUntilMs: cutOffAtMs + random() * HEARTBEAT_MS }
}

/**
 * The shortest time in which a node can have the blob, (K + log2 N)/K × max(S/R, S/B, N·S/(R + N·B)). This node's own
 * link is the B of S/B. An ordinary node's is the B of the shared part: slow links of others are no excuse. S and K are
 * those of all images together.
 * @param bytesPerMs this node's own link
 */
export function limitMs(nodes: number, bytesPerMs: number, images = 1): number {
  const [blobBytes, pieceCount] = [LAYOUT.blobBytes * images, LAYOUT.pieceCount * images]
  const rounds = (pieceCount + Math.log2(nodes)) / pieceCount
  const shared = (nodes * blobBytes) / (REGISTRY_BYTES_PER_MS + nodes * NODE_BYTES_PER_MS)
  return rounds * Math.max(blobBytes / REGISTRY_BYTES_PER_MS, blobBytes / bytesPerMs, shared)
}
