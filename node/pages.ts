import type { Logger } from 'pino'
import type { Client } from '../client/index.ts'
import type { Conditions } from '../core/conditions.ts'
import { ConfigError } from '../core/config.ts'
import type { Defects } from '../core/defects.ts'
import type { Metrics } from '../core/metrics.ts'
import { shoalVersion } from '../core/version.ts'
import type { ProxyAuthority } from '../proxy/intercept/authority.ts'
import type { SocketOwners } from '../proxy/socket-owner.ts'
import { startAdmin } from './admin.ts'
import type { NodeConfig } from './config.ts'
import type { ImagesSeen } from './images-seen.ts'
import { cacheRoutes } from './local/cache.ts'
import { pauseRoutes } from './local/pause.ts'
import { pullRoutes } from './local/pulls.ts'
import { reachRoutes } from './local/reach.ts'
import { reloadRoutes } from './local/reload.ts'
import { settingsRoutes } from './local/settings.ts'
import { stateRoutes } from './local/state.ts'
import { type LocalRoute, startLocalApi } from './local-api.ts'
import { localSocketPath } from './local-socket.ts'
import { startMetricsListener } from './metrics-listener.ts'
import type { Pause } from './pause.ts'
import type { PullHistory } from './pull-history.ts'
import type { Reloading } from './reload.ts'
import type { StartedBy } from './started-by.ts'
import { statusOf } from './status.ts'

/** Where a node says how it does: health and metrics on loopback, metrics for other machines, and the local API. */

export interface PageParts {
  config: NodeConfig
  startedBy: StartedBy
  startedMs: number
  client: Client
  history: PullHistory
  images: ImagesSeen
  reload: Reloading
  authority: ProxyAuthority
  owners: SocketOwners
  pause: Pause
  metrics: Metrics
  defects: Defects
  conditions: Conditions
  log: Logger
}

/** @throws ListenNotLoopbackError, ListenFailedError, LocalSocketError, DataFolderError, ConfigError */
export async function startPages(
  parts: PageParts,
  env: Readonly<Record<string, string | undefined>>,
  closing: AsyncDisposableStack,
) {
  const { config, log, defects } = parts
  const state = { isServing: false }
  const isServing = () => state.isServing
  const admin = await startAdmin({ ...parts, listen: config.adminListen, isServing })
  closing.defer(() => admin.close())
  const place = { runtimeDirectory: env.RUNTIME_DIRECTORY, isRoot: process.getuid?.() === 0 }
  const path = localSocketPath(config, place)
  const local = await startLocalApi({ path, routes: localRoutes(parts, isServing), log, defects })
  closing.defer(() => local.close())
  const listener = await startMetrics(parts)
  if (listener !== undefined) closing.defer(() => listener.close())
  const metricsAddress = listener?.address
  return Object.assign(state, { adminAddress: admin.address, localSocket: path, metricsAddress })
}

function localRoutes(parts: PageParts, isServing: () => boolean): LocalRoute[] {
  const { client, conditions, history, startedMs, authority } = parts
  const statusParts = { version: shoalVersion(), startedMs, client, conditions, history, isServing }
  return [
    ...stateRoutes({
      client,
      metrics: parts.metrics,
      status: () => statusOf(statusParts),
      certificatesPem: () => authority.certificatesPem,
    }),
    ...pauseRoutes(parts),
    ...reachRoutes(parts),
    ...cacheRoutes(parts),
    ...reloadRoutes(parts),
    ...settingsRoutes({ startedBy: parts.startedBy, running: () => parts.reload.running() }),
    ...pullRoutes(history.records),
  ]
}

/** @throws ConfigError if its files are missing or cannot be used */
async function startMetrics({ config, metrics, conditions, log }: PageParts) {
  const { metricsListen: listen, metricsCertFile: certFile, metricsKeyFile: keyFile } = config
  if (listen === undefined) return undefined
  if (certFile === undefined || keyFile === undefined) {
    throw new ConfigError('metricsListen needs metricsCertFile and metricsKeyFile', {
      hint: 'Name a certificate and its key: metrics go to other machines over TLS only.',
    })
  }
  return startMetricsListener({ listen, certFile, keyFile, metrics, conditions, log })
}
