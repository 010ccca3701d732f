import { z } from 'zod'

/**
 * Versions of what nodes speak among themselves. Trackers are upgraded first, nodes one by one: each node speaks its own
 * version and the one before, and the tracker names to a node only those with which it has a version in common.
 */

/** One connection for each blob; nodes that name no version. */
export const WIRE_VERSION_FIRST = 1
/** One link for each pair of nodes. */
export const WIRE_VERSION_LINKS = 2
/** What nodes of this release speak. */
export const WIRE_VERSION = WIRE_VERSION_LINKS
/** The newest that trackers of this release know. */
export const WIRE_VERSION_KNOWN = WIRE_VERSION_LINKS
/** The highest wire version that a node may name. */
export const WIRE_VERSION_MAX = 1000

/** In requests. Send it only to trackers that named theirs: older ones refuse unknown fields. */
export const wireVersion = z.int().min(WIRE_VERSION_FIRST).max(WIRE_VERSION_MAX).default(WIRE_VERSION_FIRST)

export function haveVersionInCommon(one: number, other: number): boolean {
  return Math.abs(one - other) <= 1
}
