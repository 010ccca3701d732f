import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig, readSecretFile } from '../../../core/config.ts'
import { ShoalError } from '../../../core/errors.ts'
import { clusterOfJoinToken } from '../../../core/join-token.ts'
import { readIfThere } from '../../../core/read-if-there.ts'
import { readConsent, withAttached } from '../../../node/attached.ts'
import { type NodeConfig, nodeConfig } from '../../../node/config.ts'
import { isDenied } from '../about.ts'
import type { SettingsFacts } from '../judge/settings.ts'

export interface SettingsAsked {
  file: string | undefined
  dataDir: string | undefined
  env: Readonly<Record<string, string | undefined>>
  root: string
}

/** The settings as the node would find them, with what is attached. */
export function lookAtSettings({ file, dataDir, env, root }: SettingsAsked): {
  facts: SettingsFacts
  config: Readonly<NodeConfig>
} {
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
