import type { Client } from '../client/index.ts'
import type { Metrics } from '../core/metrics.ts'

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
