import { Counter, Gauge, type Registry } from 'prom-client'
import type { Client } from '../client/index.ts'

/** Who answered a request inside an intercepted connection, and why; the label's whole range. */
export type RequestOutcome =
  | 'swarm'
  | 'registry_not_a_blob'
  | 'registry_small_blob'
  | 'registry_length_unknown'
  | 'registry_refused'
  | 'registry_fallback'
  | 'range_unsatisfiable'
  | 'client_gone'
  | 'cut_short'
  | 'error'

/** What became of a CONNECT request; the label's whole range. */
export type ConnectOutcome = 'intercepted' | 'tunnelled' | 'tunnelled_rejected' | 'denied' | 'failed'

export interface ProxyMetrics {
  requests: Counter<'outcome'>
  fallbacks: Counter<'code'>
  servedBytes: Counter
  connects: Counter<'outcome'>
}

export function proxyMetrics(register: Registry): ProxyMetrics {
  const registers = [register]
  return {
    requests: new Counter({
      name: 'shoal_proxy_requests_total',
      help: 'Requests inside intercepted connections, by who answered and why',
      labelNames: ['outcome'],
      registers,
    }),
    fallbacks: new Counter({
      name: 'shoal_proxy_fallbacks_total',
      help: 'Blob requests that went to the registry because the client could not help, by error code',
      labelNames: ['code'],
      registers,
    }),
    servedBytes: new Counter({
      name: 'shoal_proxy_served_bytes_total',
      help: 'Bytes of blobs that pulling clients on this node were given by Shoal',
      registers,
    }),
    connects: new Counter({
      name: 'shoal_proxy_connects_total',
      help: 'CONNECT requests, by what became of them',
      labelNames: ['outcome'],
      registers,
    }),
  }
}

/** The client's view of the blobs that it knows, read when metrics are asked for. */
export function blobMetrics(register: Registry, client: Pick<Client, 'progress'>): void {
  const fromProgress = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [register],
      collect() {
        this.set(read())
      },
    })
  const sum = (field: 'bytesFromRegistry' | 'bytesFromPeers') =>
    client.progress().reduce((total, blob) => total + blob[field], 0)
  fromProgress('shoal_blob_bytes_from_registry', 'Bytes of known blobs that came from registries', () =>
    sum('bytesFromRegistry'),
  )
  fromProgress('shoal_blob_bytes_from_peers', 'Bytes of known blobs that came from peers', () =>
    sum('bytesFromPeers'),
  )
  fromProgress(
    'shoal_blobs_downloading',
    'Blobs that are being downloaded',
    () => client.progress().filter((blob) => blob.state === 'downloading').length,
  )
}
