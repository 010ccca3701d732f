import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { loadConfig, readSecretFile } from '../../../core/config.ts'
import { ShoalError } from '../../../core/errors.ts'
import { clusterOfJoinToken } from '../../../core/join-token.ts'
import { readIfThere } from '../../../core/read-if-there.ts'
import { readConsent, withAttached } from '../../../node/attached.ts'
import { type NodeConfig, nodeConfig } from '../../../node/config.ts'
import type { RunningSettings } from '../../running-settings.ts'
import { isDenied } from '../about.ts'
import type { SettingsFacts } from '../judge/settings.ts'

export interface SettingsAsked {
  file: string | undefined
  dataDir: string | undefined
  env: Readonly<Record<string, string | undefined>>
  root: string
}

export interface SettingsLook {
  facts: SettingsFacts
  config: Readonly<NodeConfig>
}

/** The settings as the node would find them, with what is attached. */
export function lookAtSettings({ file, dataDir, env, root }: SettingsAsked): SettingsLook {
  const here = file !== undefined && existsSync(file) ? file : undefined
  const argv = [
    ...(here === undefined ? [] : ['--config-file', here]),
    ...(dataDir === undefined ? [] : ['--data-dir', dataDir]),
  ]
  try {
    const own = loadConfig({ program: 'node', schema: nodeConfig, argv, env })
    const attachedDir = own.attachedDir === '' ? '' : join(root, own.attachedDir)
    const settings = { ...own, attachedDir }
    const config = withAttached(settings, readConsent(attachedDir), env)
    const joinToken = joinTokenProblem(config)
    const facts = {
      file: here ?? env.SHOAL_NODE_CONFIG_FILE,
      dataDir: config.dataDir,
      registries: config.registries.length,
    }
    return { config, facts: { ...facts, joinToken } }
  } catch (error) {
    if (!(error instanceof ShoalError)) throw error
    const config = usableOf(here, dataDir)
    const problem = { message: error.message, hint: error.hint, isDenied: isDenied(error) }
    const { registries } = config
    return {
      config,
      facts: { file: here, error: problem, dataDir: config.dataDir, registries: registries.length },
    }
  }
}

/**
 * The settings that the node runs with, wherever it has them from. Where it has them from the file that was found, the file is
 * judged as it is now.
 */
export function withRunning(found: SettingsLook, running: RunningSettings): SettingsLook {
  const { program, configFile } = running
  const config = running.isTrusted ? running.settings : withOwnSecrets(running.settings, found.config)
  const isSame = program === 'node' && configFile !== null && configFile === resolve(found.facts.file ?? '')
  if (isSame) return { config, facts: found.facts }
  const file =
    program === 'up' ? `\`shoal up\`${configFile === null ? '' : ` with ${configFile}`}` : configFile
  const { dataDir, registries } = config
  const joinToken = joinTokenProblem(config)
  return { config, facts: { file: file ?? undefined, dataDir, registries: registries.length, joinToken } }
}

/** Another user's node must not say where this user's keys and passwords are shown. */
function withOwnSecrets(told: Readonly<NodeConfig>, own: Readonly<NodeConfig>): NodeConfig {
  const ownOf = new Map(own.registries.map((registry) => [registry.host, registry]))
  const registries = told.registries.map(
    ({ clientCertFile: _certificate, clientKeyFile: _key, ...open }) => ownOf.get(open.host) ?? open,
  )
  const { dockerCertsDir, upstreamProxy, upstreamProxyFile, upstreamProxyCaFile, noProxy } = own
  return {
    ...told,
    ...{ registries, dockerCertsDir, upstreamProxy, upstreamProxyFile, upstreamProxyCaFile, noProxy },
  }
}

/** What can be used of settings that cannot be used as they are, so that the other links are looked at all the same. */
function usableOf(file: string | undefined, dataDir: string | undefined): Readonly<NodeConfig> {
  const { shape } = nodeConfig
  const isUsable = ([key, value]: [string, unknown]) =>
    Object.hasOwn(shape, key) && shape[key as keyof typeof shape].safeParse(value).success
  const usable = Object.entries(objectIn(file)).filter(isUsable)
  return nodeConfig.parse({ ...Object.fromEntries(usable), ...(dataDir !== undefined && { dataDir }) })
}

function objectIn(file: string | undefined): Record<string, unknown> {
  try {
    return { ...(JSON.parse(readIfThere(file ?? '') ?? '{}') as Record<string, unknown>) }
  } catch {
    return {}
  }
}

function joinTokenProblem({ joinTokenFile }: NodeConfig): string | undefined {
  if (joinTokenFile === undefined) return undefined
  try {
    const isToken = clusterOfJoinToken(readSecretFile(joinTokenFile, 'joinTokenFile')) !== undefined
    return isToken ? undefined : `${joinTokenFile} holds no join token`
  } catch (error) {
    return isDenied(error) ? undefined : (error as Error).message
  }
}
