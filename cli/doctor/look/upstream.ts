import { pino } from 'pino'
import { Conditions } from '../../../core/conditions.ts'
import { ShoalError } from '../../../core/errors.ts'
import { addressText } from '../../../core/network.ts'
import { registryAddress } from '../../../core/repository.ts'
import type { UpstreamProxy } from '../../../core/upstream-proxy.ts'
import { upstreamProxyOf } from '../../../core/upstream-proxy-config.ts'
import type { About } from '../about.ts'
import type { UpstreamFacts } from '../judge/upstream.ts'

/** The upstream proxy with what a connection through it meets. */
export interface Upstream {
  proxy: UpstreamProxy | undefined
  look(): Promise<UpstreamFacts>
}

export function upstreamOf({ config, env }: Pick<About, 'config' | 'env'>): Upstream {
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  try {
    const proxy = upstreamProxyOf(config, env, conditions)
    return { proxy, look: () => lookThrough(proxy, conditions, config) }
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    const { message, hint } = error
    return {
      proxy: undefined,
      look: async () => ({ addresses: [], conditions: [], error: { message, hint } }),
    }
  }
}

async function lookThrough(
  proxy: UpstreamProxy | undefined,
  conditions: Conditions,
  { registries }: About['config'],
): Promise<UpstreamFacts> {
  if (proxy === undefined) return { addresses: [], conditions: [] }
  const target = registries
    .map(({ host }) => registryAddress(host))
    .find(({ host, port }) => proxy.isUsedFor(host, port))
  // Whether it wants a password shows with the first tunnel. That it does not lead to a host is said of the host.
  const tunnels = target === undefined ? [] : [proxy.connect(target)]
  const opened = await Promise.allSettled([
    ...proxy.addresses.map((address) => proxy.dial(address)),
    ...tunnels,
  ])
  for (const one of opened) if (one.status === 'fulfilled') one.value.destroy()
  return {
    addresses: proxy.addresses.map(addressText),
    conditions: conditions.list().map(({ code, subject, facts }) => ({
      ...{ code, subject },
      reason: facts.reason === undefined ? undefined : String(facts.reason),
    })),
  }
}
