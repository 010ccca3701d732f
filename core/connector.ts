import type { LookupFunction } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { buildConnector as Build } from 'undici'
import { buildConnector } from './http-dispatchers.ts'
import { ADDRESS_PATIENCE_MS, type UpstreamProxy } from './upstream-proxy.ts'

/** How a dispatcher reaches its hosts over TLS. */
export interface ConnectorOptions {
  /** Asked for each connection; the same context while nothing changed. */
  context: () => SecureContext
  /** From the first packet to the end of the TLS handshake; milliseconds. */
  timeout: number
  lookup?: LookupFunction
  proxy?: UpstreamProxy | undefined
  /** Judges the addresses of a host before the proxy is asked for it. Throws to refuse. */
  judge?: (host: string, addresses: { address: string }[]) => void
}

/** For the option `connect` of undici's dispatchers: directly, or through the upstream proxy where that is the way. */
export function connectorOf(options: ConnectorOptions): Build.connector {
  const { context, timeout, lookup, proxy } = options
  let last: { context: SecureContext; connect: Build.connector } | undefined
  const current = () => {
    const secureContext = context()
    if (last?.context === secureContext) return last.connect
    // Set explicitly: an environment variable can change Node's default for `rejectUnauthorized`.
    const tls = { secureContext, rejectUnauthorized: true, timeout, ...(lookup && { lookup }) }
    const connect = buildConnector({ ...tls, autoSelectFamilyAttemptTimeout: ADDRESS_PATIENCE_MS })
    last = { context: secureContext, connect }
    return connect
  }
  return (target, callback) => {
    const host = target.hostname.replace(/^\[(.*)\]$/, '$1')
    const isPlain = target.protocol === 'http:'
    const port = Number(target.port || (isPlain ? 80 : 443))
    if (!proxy?.isUsedFor(host, port)) return current()(target, callback)
    throughProxy(proxy, { host, port }, options).then(
      (httpSocket) => (isPlain ? callback(null, httpSocket) : current()({ ...target, httpSocket }, callback)),
      (error: Error) => callback(error, null),
    )
  }
}

async function throughProxy(
  proxy: UpstreamProxy,
  target: { host: string; port: number },
  { judge }: ConnectorOptions,
) {
  if (judge !== undefined) judge(target.host, await proxy.resolve(target.host))
  return proxy.connect(target)
}
