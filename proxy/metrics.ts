import type { Metrics } from '../core/metrics.ts'

/** Who answered a request inside an intercepted connection, and why. */
const REQUEST_OUTCOMES = [
  'swarm',
  'registry_not_a_blob',
  'registry_small_blob',
  'registry_length_unknown',
  'registry_refused',
  'registry_unproven',
  'registry_busy',
  'registry_late',
  'registry_redirect_refused',
  'registry_limited',
  'registry_paused',
  'registry_fallback',
  'range_unsatisfiable',
  'client_gone',
  'cut_short',
  'error',
] as const
export type RequestOutcome = (typeof REQUEST_OUTCOMES)[number]

/** Outcomes of a CONNECT request. */
const CONNECT_OUTCOMES = [
  'intercepted',
  'tunnelled',
  'tunnelled_rejected',
  'tunnelled_unusable',
  'tunnelled_paused',
  'denied',
  'failed',
] as const
export type ConnectOutcome = (typeof CONNECT_OUTCOMES)[number]

/** Why the client could not help; any other code counts as `other`. */
export const FALLBACK_CODES = [
  'TRACKER_UNAVAILABLE',
  'TRACKER_REFUSED',
  'GRANT_LATE',
  'BLOB_UNAVAILABLE',
  'BLOB_DISTRUSTED',
  'BLOB_SHORT',
  'BLOCKED',
  'ORIGIN_REFUSED',
  'REDIRECT_REFUSED',
  'STORE_FULL',
  'SWARM_STALLED',
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

export function proxyMetrics(metrics: Metrics): ProxyMetrics {
  const requests = metrics.counter({
    name: 'shoal_proxy_requests_total',
    help: 'Requests inside intercepted connections and at the mirror, by who answered and why.',
    labels: { outcome: REQUEST_OUTCOMES },
  })
  const connects = metrics.counter({
    name: 'shoal_proxy_connects_total',
    help: 'CONNECT requests, by outcome.',
    labels: { outcome: CONNECT_OUTCOMES },
  })
  const fallbacks = metrics.counter({
    name: 'shoal_proxy_fallbacks_total',
    help: 'Blob requests that the client could not serve, by error code.',
    labels: { code: FALLBACK_CODES },
  })
  const servedBytes = metrics.counter({
    name: 'shoal_proxy_served_bytes_total',
    help: 'Bytes of blobs that Shoal sent to pulling clients on this machine.',
  })
  return {
    requestAnswered: (outcome) => requests.add({ outcome }),
    connectAnswered: (outcome) => connects.add({ outcome }),
    fellBack: (code) => fallbacks.add({ code: FALLBACK_CODES.find((known) => known === code) ?? 'other' }),
    served: (bytes) => servedBytes.add({}, bytes),
  }
}
