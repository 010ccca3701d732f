import { Counter, Gauge, type Registry } from 'prom-client'
import type { Client } from '../client/index.ts'

/** Who answered a request inside an intercepted connection, and why. */
const REQUEST_OUTCOMES = [
  'swarm',
  'registry_not_a_blob',
  'registry_small_blob',
  'registry_length_unknown',
  'registry_refused',
  'registry_fallback',
  'range_unsatisfiable',
  'client_gone',
  'cut_short',
  'error',
] as const
export type RequestOutcome = (typeof REQUEST_OUTCOMES)[number]

/** What became of a CONNECT request. */
const CONNECT_OUTCOMES = ['intercepted', 'tunnelled', 'tunnelled_rejected', 'denied', 'failed'] as const
export type ConnectOutcome = (typeof CONNECT_OUTCOMES)[number]

/** Why the client could not help; whatever else there is counts as `other`. */
const FALLBACK_CODES = [
  'TRACKER_UNAVAILABLE',
  'TRACKER_REFUSED',
  'PULL_REFUSED',
  'BLOB_UNAVAILABLE',
  'BLOB_DISTRUSTED',
  'BLOB_SHORT',
  'ORIGIN_REFUSED',
  'STORE_FULL',
  'CLIENT_CLOSED',
  'other',
] as const

export interface ProxyMetrics {
  requestAnswered(outcome: RequestOutcome): void
  connectAnswered(outcome: ConnectOutcome): void
  /** @param code of the error that the client gave */
  fellBack(code: string): void
  served(bytes: number): void
}

export function proxyMetrics(metrics: Registry): ProxyMetrics {
  const requests = labelled(metrics, REQUEST_OUTCOMES, {
    name: 'shoal_proxy_requests_total',
    help: 'Requests inside intercepted connections, by who answered and why',
    labelNames: ['outcome'],
  })
  const connects = labelled(metrics, CONNECT_OUTCOMES, {
    name: 'shoal_proxy_connects_total',
    help: 'CONNECT requests, by what became of them',
    labelNames: ['outcome'],
  })
  const fallbacks = labelled(metrics, FALLBACK_CODES, {
    name: 'shoal_proxy_fallbacks_total',
    help: 'Blob requests that the client could not serve, by error code',
    labelNames: ['code'],
  })
  const servedBytes = new Counter({
    name: 'shoal_proxy_served_bytes_total',
    help: 'Bytes of blobs that Shoal gave to pulling clients on this machine',
    registers: [metrics],
  })
  return {
    requestAnswered: (outcome) => requests.inc({ outcome }),
    connectAnswered: (outcome) => connects.inc({ outcome }),
    fellBack: (code) => fallbacks.inc({ code: FALLBACK_CODES.find((known) => known === code) ?? 'other' }),
    served: (bytes) => servedBytes.inc(bytes),
  }
}

/** A counter with one label, each of whose values starts at zero: rates are right from the first event on. */
function labelled<Label extends string>(
  metrics: Registry,
  values: readonly string[],
  options: { name: string; help: string; labelNames: [Label] },
): Counter<Label> {
  const counter = new Counter({ ...options, registers: [metrics] })
  for (const value of values) counter.inc({ [options.labelNames[0]]: value } as Record<Label, string>, 0)
  return counter
}

/** The client's view of the blobs that it knows, read at each scrape. */
export function blobMetrics(metrics: Registry, client: Pick<Client, 'progress'>): void {
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [metrics],
      collect() {
        this.set(read())
      },
    })
  const sumOf = (field: 'bytesFromRegistry' | 'bytesFromPeers') => () =>
    client.progress().reduce((total, blob) => total + blob[field], 0)
  const downloading = () => client.progress().filter((blob) => blob.state === 'downloading').length
  gauge(
    'shoal_node_blob_registry_bytes',
    'Bytes of the blobs asked for since the start that came from registries',
    sumOf('bytesFromRegistry'),
  )
  gauge(
    'shoal_node_blob_peer_bytes',
    'Bytes of the blobs asked for since the start that came from peers',
    sumOf('bytesFromPeers'),
  )
  gauge('shoal_node_blobs_downloading', 'Blobs that are being downloaded', downloading)
}
