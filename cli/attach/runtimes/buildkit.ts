import { DOCKER_HUB, type RegistryHost } from '../../../core/repository.ts'
import { AttachFileError, AttachUnsupportedError } from '../errors.ts'
import { valueAt } from '../json-edit.ts'
import { noteFor, type Plan, type RuntimeKind, type Settings } from '../plan.ts'
import { insertToml, parseToml, setTomlKey, type TomlTable } from '../toml-edit.ts'

const CONFIG = '/etc/buildkit/buildkitd.toml'

export interface BuildkitFacts {
  version: string | undefined
  config: string | undefined
  isLink: boolean
}

/** A buildkitd of its own. (The BuildKit inside Docker is attached with Docker.) */
export const buildkit: RuntimeKind<BuildkitFacts> = {
  name: 'buildkit',
  via: 'mirror',
  async gather({ tree, run }) {
    const found = tree.read(CONFIG)
    return {
      version: /\bv(\d[\w.~+-]*)/.exec((await run(['buildkitd', '--version'])) ?? '')?.[1],
      config: found !== undefined && 'text' in found ? found.text : undefined,
      isLink: found !== undefined && 'link' in found,
    }
  },
  plan: planBuildkit,
}

function planBuildkit({ version, config, isLink }: BuildkitFacts, settings: Settings): Plan {
  if (version === undefined && config === undefined) {
    throw new AttachUnsupportedError('there is no buildkitd on this machine', {
      hint: 'The BuildKit inside Docker is attached with Docker: shoal attach docker.',
    })
  }
  if (settings.via === 'proxy') {
    throw new AttachUnsupportedError('buildkitd is attached by its mirror setting, which needs no proxy', {
      hint: 'Leave --via out. Nothing was changed.',
    })
  }
  if (isLink) {
    throw new AttachFileError(`${CONFIG} is a link`, {
      hint: 'Shoal follows no links. Change the file that it leads to by hand. Nothing was changed.',
    })
  }
  const text = settings.registries.reduce(
    (all, registry) => withMirror(all, registry, settings.mirrorUrl),
    config ?? '',
  )
  return {
    found: `BuildKit ${version ?? '(version unknown)'}`,
    edits: [{ path: CONFIG, after: { text: withPlainHttp(text, settings.mirrorUrl) } }],
    notes: [],
    restart: ['systemctl restart buildkit   (running builds end)'],
    commands: [],
  }
}

function withMirror(text: string, registry: RegistryHost, mirrorUrl: string): string {
  const name = registry === DOCKER_HUB ? 'docker.io' : registry
  const address = addressOf(mirrorUrl)
  const before = parseToml(CONFIG, text)
  const entry = valueAt(before, ['registry', name]) as TomlTable | undefined
  const mirrors = Array.isArray(entry?.mirrors) ? (entry.mirrors as string[]) : []
  if (mirrors.includes(address)) return text
  const expected = withEntry(before, name, { ...entry, mirrors: [address, ...mirrors] })
  const value = JSON.stringify([address, ...mirrors])
  if (entry !== undefined)
    return setTomlKey(CONFIG, text, { header: headerOf(name), key: 'mirrors', value, expected })
  const lines = [noteFor('buildkit').trimEnd(), `[registry.${JSON.stringify(name)}]`, `  mirrors = ${value}`]
  return insertToml(CONFIG, text, { lines, expected })
}

function withPlainHttp(text: string, mirrorUrl: string): string {
  const address = addressOf(mirrorUrl)
  const before = parseToml(CONFIG, text)
  if (valueAt(before, ['registry', address]) !== undefined) return text
  const lines = [noteFor('buildkit').trimEnd(), `[registry.${JSON.stringify(address)}]`, '  http = true']
  return insertToml(CONFIG, text, { lines, expected: withEntry(before, address, { http: true }) })
}

function withEntry(config: TomlTable, name: string, entry: TomlTable): TomlTable {
  return { ...config, registry: { ...(config.registry as TomlTable | undefined), [name]: entry } }
}

function headerOf(name: string): RegExp {
  return new RegExp(`^\\s*\\[\\s*registry\\s*\\.\\s*["']${name.replaceAll(/[.[\]]/g, '\\$&')}["']\\s*\\]`)
}

function addressOf(mirrorUrl: string): string {
  return mirrorUrl.replace(/^https?:\/\//, '')
}
