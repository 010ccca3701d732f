import type { Client } from '../client/index.ts'
import { CONDITION_CODES, type Conditions } from '../core/conditions.ts'
import type { Metrics } from '../core/metrics.ts'

/** What keeps this node from sharing, read at each scrape. */
export function conditionMetrics(metrics: Metrics, conditions: Pick<Conditions, 'count'>): void {
  metrics.gauge({
    name: 'shoal_node_conditions',
    help: 'Whether a condition of docs/errors.md is so now: 1, or 0.',
    labels: { code: CONDITION_CODES },
    read: ({ code }) => (conditions.count(code) > 0 ? 1 : 0),
  })
}

/** The client's view of the blobs that it knows, read at each scrape. */
export function blobMetrics(metrics: Metrics, client: Pick<Client, 'progress'>): void {
  const sumOf = (field: 'bytesFromRegistry' | 'bytesFromPeers') => () =>
    client.progress().reduce((total, blob) => total + blob[field], 0)
  metrics.gauge({
    name: 'shoal_node_blob_registry_bytes',
    help: 'Bytes from registries, of the blobs requested since the start.',
    read: sumOf('bytesFromRegistry'),
  })
  metrics.gauge({
    name: 'shoal_node_blob_peer_bytes',
    help: 'Bytes from peers, of the blobs requested since the start.',
    read: sumOf('bytesFromPeers'),
  })
  metrics.gauge({
    name: 'shoal_node_blobs_downloading',
    help: 'Blobs in download.',
    read: () => client.progress().filter((blob) => blob.state === 'downloading').length,
  })
}
