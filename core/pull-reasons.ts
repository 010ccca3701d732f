import { CONDITIONS, type ConditionText } from './condition-texts.ts'

/** Why a registry stepped in for a pull, in words. docs/status.md and `shoal explain` are made from this one table. */

export interface PullReason {
  /** One sentence. */
  text: string
  /** What to do, where something can be done; names the setting or the command. */
  remedy?: string
}

/** Codes that are conditions too have the condition's words, and no row. */
export const PULL_REASONS = {
  ACCESS_UNPROVEN: {
    text: "The registry's answer does not show that it is for this caller and not for everybody.",
  },
  BLOB_DISTRUSTED: {
    text: 'Bytes did not match the digest, and the copy was dropped.',
    remedy: 'Pull again. If it happens again, look in the log for the node that sent them.',
  },
  BLOB_SHORT: { text: 'The bytes of the blob ended early; the client asks again.' },
  BLOB_SMALL: {
    text: 'The blob is smaller than p2pMinBytes, so asking other nodes would take longer.',
  },
  BLOB_UNAVAILABLE: {
    text: 'Neither other nodes nor the registry gave the bytes in time.',
    remedy: 'Look at the conditions of this node (`shoal status`), and whether the registry answers.',
  },
  BLOCKED: {
    text: 'An operator blocked the blob or its repository in this cluster: nodes share it with nobody.',
    remedy:
      '`shoal admin block ls`, at the tracker, lists what is blocked, and `shoal admin block remove` ends it.',
  },
  CLIENT_CLOSED: { text: 'The node was about to end.' },
  FIRST_IN_CLUSTER: {
    text: 'No other node had these bytes yet. This node fetched them from the registry, and others get them from here.',
  },
  GRANT_LATE: {
    text: 'The tracker did not verify the pull in time; usually it waits for the registry.',
    remedy:
      'Look at how fast the registry answers the tracker. trackerPatienceMs is how long an image waits.',
  },
  LENGTH_UNKNOWN: {
    text: 'Neither the registry nor a manifest that passed tells how long the blob is.',
  },
  ORIGIN_REFUSED: {
    text: 'The registry refused to give the blob to this node with the credential of the pull.',
    remedy: 'Check whether the credential has expired, and may pull this repository.',
  },
  READ_CLOSED: { text: 'The client went away.' },
  REDIRECT_REFUSED: {
    text: 'The registry redirects to where Shoal does not follow.',
    remedy: 'If its store is really there, set permitPrivateRedirects for this registry in --registries.',
  },
  REGISTRY_BUSY: {
    text: 'All connections of this node to the registry are taken.',
    remedy: 'Look for clients that keep many downloads or pushes open without reading.',
  },
  REGISTRY_REFUSED: {
    text: 'The registry does not give the blob to this caller.',
    remedy: 'Check whether the caller is logged in, and may pull this repository.',
  },
  STORE_CLOSED: { text: 'The blob left the cache while it was in use.' },
  STORE_FULL: {
    text: 'The cache had no room for the blob.',
    remedy: 'Raise cacheBytesMax (--cache-bytes-max), or make room on the disk of dataDir.',
  },
  STORE_WRITE: {
    text: 'A piece could not be written to the disk.',
    remedy: 'Check whether the disk of dataDir is full or broken.',
  },
  SWARM_STALLED: {
    text: 'Nothing of the blob moved any more, so the rest came straight from the registry.',
    remedy: 'It may be a fault of Shoal: keep the logs of this time (`shoal bugreport`).',
  },
  TARGET_UNREACHABLE: {
    text: 'The registry cannot be resolved or connected to.',
    remedy: 'Check the network and the names (DNS) of this machine.',
  },
  TRACKER_REFUSED: {
    text: 'The tracker refused the pull.',
    remedy: 'The log of this node has the reason of the tracker; docs/errors.md explains its code.',
  },
  TRACKER_UNAVAILABLE: {
    text: 'The tracker did not answer.',
    remedy: 'Check whether `shoal tracker` runs unlocked, and whether trackerUrl leads to it.',
  },
  TRANSFER_STALLED: {
    text: 'The client or the registry stopped in the middle of the blob while others waited.',
  },
  UNEXPECTED: {
    text: 'A defect of Shoal; the log has its stack.',
    remedy: 'Please report it: `shoal bugreport`.',
  },
  UPSTREAM_TIMEOUT: {
    text: 'The registry took the request and did not answer in time.',
    remedy: 'Look at the load of the registry, or of the one behind it if it is a cache.',
  },
} as const satisfies Record<string, PullReason>

/** @param code of a pull's record: a row above, a condition, or the status of the registry's answer (`HTTP_404`) */
export function reasonWords(code: string): PullReason {
  const row = own<PullReason>(PULL_REASONS, code)
  if (row !== undefined) return row
  const condition = own<ConditionText>(CONDITIONS, code)
  if (condition !== undefined) return { text: condition.text, remedy: condition.remedy }
  const status = /^HTTP_(\d{3})$/.exec(code)?.[1]
  if (status !== undefined) return { text: `The registry answered with status ${status}.` }
  return { text: 'docs/errors.md explains this code.' }
}

function own<Row>(table: Readonly<Record<string, Row>>, code: string): Row | undefined {
  return Object.hasOwn(table, code) ? table[code] : undefined
}
