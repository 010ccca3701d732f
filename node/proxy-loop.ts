import { isIP } from 'node:net'
import { ConfigError, type ListenAddress } from '../core/config.ts'
import { addressText, isLoopbackHost } from '../core/network.ts'
import type { UpstreamProxy } from '../core/upstream-proxy.ts'
import { isThisMachine } from '../proxy/upstream/target.ts'

/**
 * Docker's environment names this node's proxy as HTTPS_PROXY; a node that inherits it would call itself for ever.
 * @throws ConfigError
 */
export async function refuseProxyLoop(proxy: UpstreamProxy, listen: ListenAddress): Promise<void> {
  for (const upstream of proxy.addresses) {
    if (upstream.port !== listen.port || !(await leadsHere(proxy, upstream.host))) continue
    throw new ConfigError(`the upstream proxy ${addressText(upstream)} is this node itself (proxyListen)`, {
      hint: "It is probably Docker's HTTPS_PROXY. Start the node without that variable, name the real proxy with --upstream-proxy, or set --upstream-proxy none.",
    })
  }
}

async function leadsHere(proxy: UpstreamProxy, host: string): Promise<boolean> {
  if (isLoopbackHost(host)) return true
  const addresses = isIP(host) === 0 ? await proxy.resolve(host) : [{ address: host }]
  return addresses.some(({ address }) => isThisMachine(address))
}
