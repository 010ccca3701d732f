import { CALL_OUTCOMES, type Client } from '../client/index.ts'
import { CONDITION_CODES, type Conditions } from '../core/conditions.ts'
import type { Metrics } from '../core/metrics.ts'
import { PULL_SOURCES } from '../proxy/pull-record.ts'
import type { PullRecords } from '../proxy/pull-records.ts'

const PEER_FAILURES = ['refused', 'unreachable'] as const
const PEER_DISTANCES = ['near', 'far'] as const
const PEER_STATES = ['connected', ...PEER_FAILURES] as const

export interface NodeMetricsParts {
  client: Pick<Client, 'progress' | 'status'>
  conditions: Pick<Conditions, 'count'>
  records: Pick<PullRecords, 'total'>
}

/** What a node knows of itself, read at each scrape. */
export function nodeMetrics(metrics: Metrics, parts: NodeMetricsParts): void {
  conditionMetrics(metrics, parts)
  transferMetrics(metrics, parts)
  trackerMetrics(metrics, parts)
  peerMetrics(metrics, parts)
  cacheMetrics(metrics, parts)
}

function conditionMetrics(metrics: Metrics, { conditions }: NodeMetricsParts): void {
  metrics.gauge({
    name: 'shoal_node_conditions',
    help: 'Whether a condition of docs/errors.md is so now: 1, or 0.',
    labels: { code: CONDITION_CODES },
    read: ({ code }) => (conditions.count(code) > 0 ? 1 : 0),
  })
}

function transferMetrics(metrics: Metrics, { client, records }: NodeMetricsParts): void {
  metrics.total({
    name: 'shoal_node_pull_bytes_total',
    help: 'Bytes of blobs sent to pulling clients, by where this node had them from; passedThrough: the registry served the request itself.',
    labels: { source: PULL_SOURCES },
    read: ({ source }) => records.total()[source],
  })
  metrics.total({
    name: 'shoal_node_upload_bytes_total',
    help: 'Bytes of blobs sent to peers.',
    read: () => client.status().moved.bytesToPeers,
  })
  metrics.gauge({
    name: 'shoal_node_blob_registry_bytes',
    help: 'Bytes that this node fetched from registries since the start.',
    read: () => client.status().moved.bytesFromRegistry,
  })
  metrics.gauge({
    name: 'shoal_node_blob_peer_bytes',
    help: 'Bytes that this node fetched from peers since the start.',
    read: () => client.status().moved.bytesFromPeers,
  })
  metrics.total({
    name: 'shoal_node_peer_bytes_total',
    help: 'Bytes of blobs that this node fetched from peers of its own zone (near) and of others (far), as the tracker named them. Of peers that came by themselves, and on a node without a zone, neither is known.',
    labels: { distance: PEER_DISTANCES },
    read: ({ distance }) => {
      const { moved } = client.status()
      return distance === 'far' ? moved.bytesFromFar : moved.bytesFromNear
    },
  })
  metrics.gauge({
    name: 'shoal_node_blobs_downloading',
    help: 'Blobs in download.',
    read: () => client.progress().filter((blob) => blob.state === 'downloading').length,
  })
}

function trackerMetrics(metrics: Metrics, { client }: NodeMetricsParts): void {
  metrics.gauge({
    name: 'shoal_node_joined',
    help: 'Whether the tracker has taken this node in since the start: 1, or 0.',
    read: () => (client.status().joined === undefined ? 0 : 1),
  })
  metrics.gauge({
    name: 'shoal_node_tracker_connected',
    help: 'Whether the tracker answered this node the last time: 1, or 0.',
    read: () => (client.status().tracker.state === 'connected' ? 1 : 0),
  })
  metrics.total({
    name: 'shoal_node_tracker_calls_total',
    help: 'Calls to the tracker, by outcome; failed: no answer, or none that can be read.',
    labels: { outcome: CALL_OUTCOMES },
    read: ({ outcome }) => client.status().tracker.calls[outcome],
  })
}

function peerMetrics(metrics: Metrics, { client }: NodeMetricsParts): void {
  metrics.gauge({
    name: 'shoal_node_peers',
    help: 'Other nodes: connected now, refused or not reached within the last minutes.',
    labels: { state: PEER_STATES },
    read: ({ state }) => client.status().peers[state],
  })
  metrics.total({
    name: 'shoal_node_peer_failures_total',
    help: 'Connections with other nodes that came to nothing, by reason.',
    labels: { reason: PEER_FAILURES },
    read: ({ reason }) => client.status().peers.events[reason],
  })
}

function cacheMetrics(metrics: Metrics, { client }: NodeMetricsParts): void {
  metrics.gauge({
    name: 'shoal_node_cache_bytes',
    help: 'Verified bytes of blobs in the cache.',
    read: () => client.status().held.bytes,
  })
  metrics.gauge({
    name: 'shoal_node_cache_blobs',
    help: 'Blobs in the cache, whole or in part.',
    read: () => client.status().held.blobs,
  })
  metrics.total({
    name: 'shoal_node_cache_evictions_total',
    help: 'Blobs that left the cache to make room for others.',
    read: () => client.status().held.evictions,
  })
}
