import type { Client } from '../../client/index.ts'
import type { LocalRoute } from '../local-api.ts'

/** What the node does: for `shoal status`, watchers and the lab. */

export interface StateParts {
  client: Pick<Client, 'progress'>
  status: () => object
  /** PEM certificates that pulling clients must trust. */
  certificatesPem: () => string
}

export function stateRoutes({ client, status, certificatesPem }: StateParts): LocalRoute[] {
  return [
    { method: 'GET', path: '/v1/status', answer: status },
    { method: 'GET', path: '/v1/progress', answer: () => progressOf(client) },
    { method: 'GET', path: '/v1/ca', answer: () => ({ pem: `${certificatesPem().trim()}\n` }) },
  ]
}

/** Counts bytes of blobs since this process started. */
function progressOf(client: Pick<Client, 'progress'>): object {
  const kibibyte = 1024
  return {
    blobs: client.progress(),
    memory: {
      rssBytes: process.memoryUsage.rss(),
      peakRssBytes: process.resourceUsage().maxRSS * kibibyte,
    },
  }
}
