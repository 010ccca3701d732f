import type { Client } from '../../client/index.ts'
import { createLog } from '../../core/log.ts'
import { createMetrics } from '../../core/metrics.ts'
import type { RegistryClients } from '../../core/registry-client.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'
import { type RunningProxy, startProxy } from '../../proxy/proxy.ts'

/** The proxy of one node of a test's cluster. It publishes nothing and logs nothing. @returns with what its clients must trust */
export async function startNodeProxy(
  client: Client,
  registries: RegistryClients,
): Promise<{ proxy: RunningProxy; caPem: string }> {
  const authority = await ProxyAuthority.make([...registries.keys()])
  const proxy = await startProxy({
    ...{ client, registries, authority },
    listen: { host: '127.0.0.1', port: 0 },
    publish: () => undefined,
    p2pMinBytes: 1000,
    permitLinkLocal: false,
    deniedPorts: [],
    metrics: createMetrics(),
    log: createLog({ level: 'silent', name: 'test', destination: { write: () => undefined } }),
  })
  return { proxy, caPem: authority.certificatesPem }
}
