import { DOCKER_HUB, type RegistryHost } from '../../../core/repository.ts'
import { AttachFileError, AttachUnsupportedError } from '../errors.ts'
import type { FileTree } from '../file-tree.ts'
import { valueAt } from '../json-edit.ts'
import {
  noteFor,
  type Plan,
  type PlannedEdit,
  type RuntimeKind,
  type Settings,
  trustFolders,
} from '../plan.ts'
import { insertToml, parseToml, setTomlKey, type TomlTable } from '../toml-edit.ts'

const CONFIG = '/etc/containerd/config.toml'
const HOSTS_DIR = '/etc/containerd/certs.d'

/** A folder below `config_path`. */
interface HostFolder {
  registry: RegistryHost
  path: string
  /** Its hosts.toml. */
  hosts: string | undefined
  /** Other files, which containerd reads only while there is no hosts.toml. */
  certificates: string[]
}

export interface ContainerdFacts {
  version: string | undefined
  config: string | undefined
  isLink: boolean
  hasUnit: boolean
  configPath: string
  folders: HostFolder[]
  hasDefault: boolean
}

/** containerd and its CRI. It reads `hosts.toml` at each pull, and goes on to the registry when the mirror is down. */
export const containerd: RuntimeKind<ContainerdFacts> = {
  name: 'containerd',
  via: 'mirror',
  async gather({ tree, run }, registries) {
    const found = tree.read(CONFIG)
    const config = found !== undefined && 'text' in found ? found.text : undefined
    const version = /\bv?(\d+\.\d+[\w.~+-]*)/.exec((await run(['containerd', '--version'])) ?? '')?.[1]
    const [configPath = HOSTS_DIR] = pathsIn(config === undefined ? {} : parseToml(CONFIG, config))
    return {
      version,
      config,
      isLink: found !== undefined && 'link' in found,
      hasUnit: ['/usr/lib', '/etc'].some(
        (dir) => tree.stat(`${dir}/systemd/system/containerd.service`) !== undefined,
      ),
      configPath,
      folders: registries.map((registry) => hostFolder(tree, configPath, registry)),
      hasDefault: tree.list(`${configPath}/_default`).length > 0,
    }
  },
  plan: planContainerd,
}

function hostFolder(tree: FileTree, configPath: string, registry: RegistryHost): HostFolder {
  const path = `${configPath}/${trustFolders(registry)[0]}`
  const certificates = tree.list(path).filter((name) => /\.(crt|cert|key)$/.test(name))
  const hosts = tree.read(`${path}/hosts.toml`)
  if (hosts !== undefined && 'link' in hosts) {
    throw new AttachFileError(`${path}/hosts.toml is a link`, {
      hint: 'Shoal follows no links. Change the file that it leads to by hand. Nothing was changed.',
    })
  }
  return { registry, path, hosts: hosts?.text, certificates }
}

const PLUGINS = { 1: 'io.containerd.grpc.v1.cri', 2: 'io.containerd.cri.v1.images' } as const

/** The plug-in that a configuration of this version configures. */
function pluginOf(version: string | undefined, config: TomlTable): string {
  const format = config.version
  if (typeof format === 'number') return format >= 3 ? PLUGINS[2] : PLUGINS[1]
  return Number.parseInt(version ?? '2', 10) >= 2 ? PLUGINS[2] : PLUGINS[1]
}

function pathsIn(config: TomlTable): string[] {
  const values = Object.values(PLUGINS).map((plugin) =>
    valueAt(config, ['plugins', plugin, 'registry', 'config_path']),
  )
  const value = values.find((one) => typeof one === 'string' && one !== '') as string | undefined
  return value?.split(':').filter((path) => path !== '') ?? []
}

function planContainerd(facts: ContainerdFacts, settings: Settings): Plan {
  refuseUnsupported(facts, settings)
  const config = configEdits(facts)
  return {
    found: `containerd ${facts.version ?? '(version unknown)'}, registries in ${facts.configPath}`,
    edits: [...config, ...facts.folders.map((folder) => hostsEdit(facts, folder, settings.mirrorUrl))],
    notes: [],
    // hosts.toml is read at each pull.
    restart: config.length === 0 ? [] : ['systemctl restart containerd   (containers keep running)'],
    commands: [],
  }
}

function refuseUnsupported({ version, config, hasUnit, isLink }: ContainerdFacts, { via }: Settings): void {
  if (version === undefined && config === undefined && !hasUnit) {
    throw new AttachUnsupportedError('there is no containerd on this machine', {
      hint: 'Install it, or name another runtime: docker, podman, cri-o or buildkit.',
    })
  }
  if (via === 'proxy') {
    throw new AttachUnsupportedError('containerd is attached by its mirror setting, which needs no proxy', {
      hint: 'Leave --via out. Nothing was changed.',
    })
  }
  if (isLink) {
    throw new AttachFileError(`${CONFIG} is a link`, {
      hint: 'Shoal follows no links. Change the file that it leads to by hand. Nothing was changed.',
    })
  }
  if (Number.parseFloat(version ?? '2') < 1.5) {
    throw new AttachUnsupportedError(`containerd ${version} reads no hosts.toml`, {
      hint: 'Upgrade to containerd 1.7 or 2. Nothing was changed.',
    })
  }
}

/** `config_path`, where the configuration has none, or a list that its version ignores. */
function configEdits({ version, config: text = '', configPath }: ContainerdFacts): PlannedEdit[] {
  const config = parseToml(CONFIG, text)
  const plugin = pluginOf(version, config)
  const registry = valueAt(config, ['plugins', plugin, 'registry']) as TomlTable | undefined
  if (registry?.mirrors !== undefined || registry?.configs !== undefined) {
    throw new AttachFileError(
      `${CONFIG} has registry.mirrors or registry.configs, which exclude config_path`,
      {
        hint: `Move them to ${HOSTS_DIR}/HOST/hosts.toml first: containerd 2 reads nothing else. Nothing was changed.`,
      },
    )
  }
  const paths = pathsIn(config)
  if (paths.length === 1) return []
  if (paths.length > 1 && !isListIgnored(version)) return []
  const after = withConfigPath(config, plugin, configPath)
  const value = JSON.stringify(configPath)
  const header = new RegExp(
    `^\\s*\\[\\s*plugins\\s*\\.\\s*["']${plugin.replaceAll('.', '\\.')}["']\\s*\\.\\s*["']?registry["']?\\s*\\]`,
  )
  if (registry !== undefined) {
    return [edited(setTomlKey(CONFIG, text, { header, key: 'config_path', value, expected: after }))]
  }
  const isNew = config.version === undefined
  const format = plugin === PLUGINS[2] ? 3 : 2
  const lines = [
    noteFor('containerd').trimEnd(),
    `[plugins.${JSON.stringify(plugin)}.registry]`,
    `  config_path = ${value}`,
  ]
  if (!isNew) return [edited(insertToml(CONFIG, text, { lines, expected: after }))]
  if (text.trim() !== '') {
    throw new AttachFileError(
      `${CONFIG} has no version, so that it is of a form that containerd 2 does not read`,
      {
        hint: 'Run `containerd config migrate` and look at what it prints. Nothing was changed.',
      },
    )
  }
  return [
    edited(
      insertToml(CONFIG, text, {
        lines: [`version = ${format}`, '', ...lines],
        expected: { version: format, ...after },
      }),
    ),
  ]
}

/** Since 2.1 the transfer service takes one path, and leaves a list out without a word. */
function isListIgnored(version: string | undefined): boolean {
  const [major = 2, minor = 1] = (version ?? '').split('.').map((part) => Number.parseInt(part, 10))
  return major > 2 || (major === 2 && minor >= 1)
}

function withConfigPath(config: TomlTable, plugin: string, configPath: string): TomlTable {
  const plugins = (config.plugins ?? {}) as TomlTable
  const own = (plugins[plugin] ?? {}) as TomlTable
  const registry = { ...(own.registry as TomlTable | undefined), config_path: configPath }
  return { ...config, plugins: { ...plugins, [plugin]: { ...own, registry } } }
}

function edited(text: string): PlannedEdit {
  return { path: CONFIG, after: { text } }
}

function hostsEdit(facts: ContainerdFacts, folder: HostFolder, mirrorUrl: string): PlannedEdit {
  const path = `${folder.path}/hosts.toml`
  if (folder.hosts === undefined) return { path, after: { text: newHosts(facts, folder, mirrorUrl) } }
  const before = parseToml(path, folder.hosts)
  const hosts = before.host as TomlTable | undefined
  const ca = [
    ...new Set([before, ...Object.values(hosts ?? {})].flatMap((table) => (table as TomlTable).ca ?? [])),
  ]
  const lines = mirrorLines(mirrorUrl, ca)
  if (hosts?.[mirrorUrl] !== undefined) return { path, after: { text: folder.hosts } }
  const expected = {
    ...before,
    host: { ...hosts, [mirrorUrl]: { capabilities: ['pull'], ...(ca.length === 0 ? {} : { ca }) } },
  }
  // Hosts are tried in the order of the file.
  const first = /^[ \t]*\[[ \t]*["']?host["']?[ \t]*[.\]]/m
  const note = noteFor('containerd').trimEnd()
  return {
    path,
    after: { text: insertToml(path, folder.hosts, { lines: [note, ...lines], before: first, expected }) },
  }
}

/**
 * Tags are resolved at the registry: the mirror is asked for what has a digest. The token server is asked with the mirror's
 * settings, so what verifies the registry must stand here too.
 */
function mirrorLines(mirrorUrl: string, ca: unknown[]): string[] {
  const trust = ca.length === 0 ? [] : [`  ca = ${JSON.stringify(ca)}`]
  return [`[host.${JSON.stringify(mirrorUrl)}]`, '  capabilities = ["pull"]', ...trust]
}

/** What stood there without a hosts.toml goes on to count: certificates beside it would not. */
function newHosts(
  { hasDefault, configPath }: ContainerdFacts,
  folder: HostFolder,
  mirrorUrl: string,
): string {
  const { registry, path, certificates } = folder
  if (hasDefault && certificates.length === 0) {
    throw new AttachFileError(`a new folder ${path} would hide ${configPath}/_default`, {
      hint: `Copy _default to ${path} first, or name only other registries. Nothing was changed.`,
    })
  }
  const server = `server = ${JSON.stringify(`https://${registry === DOCKER_HUB ? DOCKER_HUB : registry}`)}`
  const authorities = certificates.filter((name) => name.endsWith('.crt') && name !== 'shoal.crt')
  const clients = certificates.filter((name) => name.endsWith('.cert'))
  const ca = authorities.map((name) => `${path}/${name}`)
  const pairs = clients.map((name) => [name, name.replace(/\.cert$/, '.key')].map((one) => `${path}/${one}`))
  return `${[
    noteFor('containerd').trimEnd(),
    server,
    ...(authorities.length === 0 ? [] : [`ca = ${JSON.stringify(ca)}`]),
    ...(pairs.length === 0 ? [] : [`client = ${JSON.stringify(pairs)}`]),
    '',
    ...mirrorLines(mirrorUrl, ca),
  ].join('\n')}\n`
}
