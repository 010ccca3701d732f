import { resolve } from 'node:path'
import { scrubSecrets } from '../../core/scrub-secrets.ts'
import { shoalVersion } from '../../core/version.ts'
import type { NodeConfig } from '../config.ts'
import type { LocalRoute } from '../local-api.ts'
import type { StartedBy } from '../started-by.ts'

/** What the node runs with and what it logged lately: for `shoal doctor` and `shoal bugreport`, wherever it was started. */

export interface SettingsParts {
  startedBy: StartedBy
  /** With what was attached and reloaded since the start. */
  running(): Promise<Readonly<NodeConfig>>
}

export function settingsRoutes({ startedBy, running }: SettingsParts): LocalRoute[] {
  const { program, configFile, recentLog } = startedBy
  return [
    {
      method: 'GET',
      path: '/v1/settings',
      answer: async () => ({
        version: shoalVersion(),
        program,
        configFile: configFile === undefined ? null : resolve(configFile),
        settings: shown(await running()),
      }),
    },
    { method: 'GET', path: '/v1/log', answer: () => ({ text: recentLog?.text() ?? '' }) },
  ]
}

/** Paths from the root, for commands in other folders. The one secret outside files may be in the URL of a proxy: then it is left out. */
function shown({ upstreamProxy, registries, ...rest }: Readonly<NodeConfig>): object {
  const isSecret = upstreamProxy !== undefined && scrubSecrets(upstreamProxy) !== upstreamProxy
  return {
    ...withWholePaths(rest),
    ...(upstreamProxy === undefined || isSecret ? {} : { upstreamProxy }),
    registries: registries.map(withWholePaths),
  }
}

function withWholePaths(settings: object): object {
  const isPath = (key: string) => /(?:File|Dir)$/.test(key)
  const whole = (key: string, value: unknown) =>
    isPath(key) && typeof value === 'string' && !NO_PATHS.has(value) ? resolve(value) : value
  return Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, whole(key, value)]))
}

const NO_PATHS: ReadonlySet<string> = new Set(['', 'none', 'memory'])
