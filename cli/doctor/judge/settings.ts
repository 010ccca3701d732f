import { counted } from '../../table.ts'
import { type Finding, found, ok, unknown } from '../finding.ts'

export interface SettingsFacts {
  /** The file that they come from; undefined: defaults and environment. */
  file: string | undefined
  /** Why they cannot be used. */
  error?: { message: string; hint?: string | undefined; isDenied: boolean }
  dataDir: string
  registries: number
  /** What is wrong with joinTokenFile. */
  joinToken?: string | undefined
}

export function judgeSettings({ file, error, dataDir, registries, joinToken }: SettingsFacts): Finding[] {
  if (error?.isDenied) return [unknown('the settings of the node', error.message)]
  if (error !== undefined) return [found('SETTINGS_REFUSED', { detail: error.message, remedy: error.hint })]
  const from = file ?? 'no file: defaults and environment'
  const all = [ok(`${from}; data folder ${dataDir}; ${counted(registries, 'registry', 'registries')}`)]
  return joinToken === undefined ? all : [...all, found('JOIN_TOKEN_UNREADABLE', { detail: joinToken })]
}
