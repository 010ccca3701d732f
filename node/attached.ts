import { join } from 'node:path'
import { attachedProxyFile, CONSENT_FILE } from '../core/attached-files.ts'
import { ConfigError } from '../core/config.ts'
import { type Consent, consentSchema } from '../core/consent.ts'
import { readIfThere } from '../core/read-if-there.ts'
import { registryConfig } from '../core/registry-config.ts'
import type { NodeConfig } from './config.ts'

/** What `shoal attach` left for the node at its start (core/consent.ts). follow-consent.ts has what comes later. */

/**
 * @param attachedDir '' for none
 * @returns undefined while nothing is attached
 * @throws ConfigError
 */
export function readConsent(attachedDir: string): Consent | undefined {
  const text = attachedDir === '' ? undefined : readIfThere(join(attachedDir, CONSENT_FILE))
  if (text === undefined) return undefined
  try {
    return consentSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new ConfigError(`attachedDir: ${join(attachedDir, CONSENT_FILE)} is damaged`, {
      cause,
      hint: 'Run `shoal attach` again: it writes the file anew.',
    })
  }
}

/**
 * The settings with what was attached: registries by their names alone, and the upstream proxy where neither settings nor
 * environment name one.
 */
export function withAttached(
  config: Readonly<NodeConfig>,
  consent: Consent | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<NodeConfig> {
  if (consent === undefined) return config
  const known = new Set(config.registries.map(({ host }) => host))
  const added = consent.registries
    .filter((host) => !known.has(host))
    .map((host) => registryConfig.parse({ host }))
  const registries = [...config.registries, ...added]
  const isProxyNamed =
    config.upstreamProxy !== undefined ||
    config.upstreamProxyFile !== undefined ||
    ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].some((name) => env[name])
  if (isProxyNamed || consent.noProxy === undefined) return { ...config, registries }
  const upstreamProxyFile = attachedProxyFile(config.attachedDir, env)
  return { ...config, registries, upstreamProxyFile, noProxy: config.noProxy ?? consent.noProxy }
}
