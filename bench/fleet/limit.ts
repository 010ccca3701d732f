import { pieceLayout } from '../../core/metainfo.ts'

/** Computes the shortest time in which N nodes can have an image, from the links alone. */

export type Mode = 'cold' | 'warm' | 'direct'

export interface Links {
  /** Payload of one flow over a node's link, each way, bytes per second: B. */
  nodeBytesPerSecond: number
  /** The same of the registry's link: R. */
  registryBytesPerSecond: number
}

export interface FleetImage {
  /** All layers: S. */
  bytes: number
  /** Pieces of the largest layer: K. */
  pieces: number
}

/** @param layerBytes sizes of the image's layers */
export function fleetImageOf(layerBytes: number[]): FleetImage {
  return {
    bytes: layerBytes.reduce((sum, bytes) => sum + bytes, 0),
    pieces: pieceLayout(Math.max(...layerBytes)).pieceCount,
  }
}

/**
 * The shortest time of the slowest of `nodes`, in seconds. A swarm's pieces reach the last node only after log2 N
 * hops, a piece each: the factor (K + log2 N)/K (Mundinger, Weber, Weiss, "Optimal scheduling of peer-to-peer file
 * dissemination").
 */
export function limitSeconds(mode: Mode, nodes: number, image: FleetImage, links: Links): number {
  const { bytes, pieces } = image
  const { nodeBytesPerSecond: node, registryBytesPerSecond: registry } = links
  if (mode === 'direct') return Math.max(bytes / node, (nodes * bytes) / registry)
  const hops = (pieces + Math.log2(nodes)) / pieces
  if (mode === 'warm') return hops * (bytes / node)
  return hops * Math.max(bytes / registry, bytes / node, (nodes * bytes) / (registry + nodes * node))
}
