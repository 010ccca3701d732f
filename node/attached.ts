import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ConfigError } from '../core/config.ts'
import { credentialFile } from '../core/credentials.ts'
import { registryHostSchema } from '../core/registries-api.ts'
import { registryConfig } from '../core/registry-config.ts'
import type { NodeConfig } from './config.ts'

/** What `shoal attach` left for the node: leave to intercept registries, and the proxy that the runtimes used before. */

const CONSENT_FILE = 'consent.json'
const UPSTREAM_FILE = 'upstream-proxy'
/** Only root can read that file: a service manager passes it on. */
const UPSTREAM_CREDENTIAL = 'attached-proxy'

const consentSchema = z.object({
  registries: z.array(registryHostSchema),
  /** Some runtime asks the mirror endpoint. */
  mirror: z.boolean(),
  /** Of the runtime whose proxy stands in the file beside. */
  noProxy: z.string().optional(),
})

/** @returns undefined while nothing is attached. @throws ConfigError */
function readConsent(attachedDir: string): z.output<typeof consentSchema> | undefined {
  const text = textIfThere(join(attachedDir, CONSENT_FILE))
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
  env: Readonly<Record<string, string | undefined>>,
): Readonly<NodeConfig> {
  const consent = config.attachedDir === '' ? undefined : readConsent(config.attachedDir)
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
  const upstreamProxyFile =
    credentialFile(UPSTREAM_CREDENTIAL, env) ?? join(config.attachedDir, UPSTREAM_FILE)
  return { ...config, registries, upstreamProxyFile, noProxy: config.noProxy ?? consent.noProxy }
}

function textIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
