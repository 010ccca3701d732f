import { existsSync } from 'node:fs'
import { pino } from 'pino'
import { loadConfig, type OldNameUsed } from '../../core/config.ts'
import { NODE_DATA_DIR } from '../../core/consent.ts'
import { type NodeConfig, nodeConfig } from '../../node/config.ts'
import { NODE_CONFIG_FILE } from '../node-config-file.ts'

export const NODE_FLAGS = {
  'config-file': {
    type: 'string',
    value: 'file',
    description: `The node's settings, for its data folder and its upstream proxy. Default: ${NODE_CONFIG_FILE} if there is one.`,
  },
  'data-dir': {
    type: 'string',
    value: 'folder',
    description: `The node's data folder. Default: dataDir of the settings, or ${NODE_DATA_DIR}.`,
  },
} as const

/** For the upstream proxy (HTTPS_PROXY, NO_PROXY). */
export const environment: Readonly<Record<string, string | undefined>> = process.env

/** The commands print their results themselves. */
export const silentLog = pino({ level: 'silent' })

/** The settings of the node on this machine. @throws ConfigError */
export function nodeSettings(values: {
  'config-file': string | undefined
  'data-dir': string | undefined
  zone?: string | undefined
  rack?: string | undefined
}): Readonly<NodeConfig> {
  const file = values['config-file'] ?? (existsSync(NODE_CONFIG_FILE) ? NODE_CONFIG_FILE : undefined)
  const argv = [
    ...(file === undefined ? [] : ['--config-file', file]),
    ...(['data-dir', 'zone', 'rack'] as const).flatMap((flag) =>
      values[flag] === undefined ? [] : [`--${flag}`, values[flag]],
    ),
  ]
  const onOldName = ({ from, to, source }: OldNameUsed) =>
    void process.stderr.write(`shoal: ${from} (from ${source}) is now ${to}\n`)
  return loadConfig({ program: 'node', schema: nodeConfig, argv, env: environment, onOldName })
}
