import { z } from 'zod'
import type { Conditions } from './conditions.ts'
import { ConfigError, readSecretFile } from './config.ts'
import { parseProxyUrl, UpstreamProxy, type UpstreamProxySettings } from './upstream-proxy.ts'

/** The settings of every program that reaches registries. */
export const upstreamProxyConfig = {
  upstreamProxy: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe(
      'HTTP proxy through which registries and other hosts are reached, as http://proxy.example.com:3128 or https://…; `none` uses none. Default: from HTTPS_PROXY and HTTP_PROXY.',
    ),
  upstreamProxyFile: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe(
      'File with the URL of the upstream proxy, if it contains a password: http://user:password@proxy.example.com:3128.',
    ),
  upstreamProxyCaFile: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe("PEM certificates to trust for an https:// proxy, in addition to the system's."),
  noProxy: z
    .string()
    .max(64 * 1024)
    .optional()
    .describe(
      'Hosts that are reached without the upstream proxy, separated by commas: example.com (and below), .example.com (only below), 10.0.0.0/8, example.com:8443, or *. Default: NO_PROXY.',
    ),
} as const

interface ProxySettings {
  upstreamProxy?: string | undefined
  upstreamProxyFile?: string | undefined
  upstreamProxyCaFile?: string | undefined
  noProxy?: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The upstream proxy by the settings, else by the environment's variables, upper case before lower as in Go.
 * @returns undefined if there is none
 * @throws ConfigError
 */
export function upstreamProxyOf(
  settings: ProxySettings,
  env: Environment,
  conditions?: Conditions,
): UpstreamProxy | undefined {
  const { https, http, noProxy, source } = proxySettings(settings, env)
  if (https === undefined && http === undefined) return undefined
  for (const url of [https, http]) {
    if (url === undefined || parseProxyUrl(url) !== undefined) continue
    // Not the value, which may contain a password.
    throw new ConfigError(`${source}: expected http://host:port or https://host:port`, {
      hint: `Correct it, or set upstreamProxy to 'none'. Shoal does not speak SOCKS.`,
    })
  }
  const { upstreamProxyCaFile: caFile } = settings
  const caPem = caFile === undefined ? undefined : readSecretFile(caFile, 'upstreamProxyCaFile')
  return new UpstreamProxy({ https, http, noProxy }, conditions, caPem)
}

function proxySettings(
  { upstreamProxy, upstreamProxyFile, noProxy }: ProxySettings,
  env: Environment,
): UpstreamProxySettings & { source: string } {
  const variable = (name: string) => env[name] || env[name.toLowerCase()] || undefined
  const rules = noProxy ?? variable('NO_PROXY') ?? ''
  if (upstreamProxy !== undefined && upstreamProxyFile !== undefined) {
    throw new ConfigError('upstreamProxy and upstreamProxyFile are both set', { hint: 'Set one of them.' })
  }
  if (upstreamProxyFile !== undefined) {
    const url = readSecretFile(upstreamProxyFile, 'upstreamProxyFile')
    return { https: url, http: url, noProxy: rules, source: 'upstreamProxyFile' }
  }
  if (upstreamProxy === 'none') return { https: undefined, http: undefined, noProxy: '', source: '' }
  if (upstreamProxy !== undefined)
    return { https: upstreamProxy, http: upstreamProxy, noProxy: rules, source: 'upstreamProxy' }
  return {
    https: variable('HTTPS_PROXY'),
    http: variable('HTTP_PROXY'),
    noProxy: rules,
    source: 'HTTPS_PROXY or HTTP_PROXY',
  }
}
