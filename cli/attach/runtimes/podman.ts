import { stringify } from 'smol-toml'
import { AttachUnsupportedError } from '../errors.ts'
import type { FileTree } from '../file-tree.ts'
import { valueAt } from '../json-edit.ts'
import { ownListeners } from '../node-settings.ts'
import {
  extendedNoProxy,
  hiddenNotes,
  noteFor,
  type Plan,
  type RuntimeKind,
  type Settings,
  type TrustFolder,
  trustFoldersIn,
  trustLinks,
} from '../plan.ts'
import {
  INSECURE_MIRROR_NOTE,
  narrowerNotes,
  type RegistryEntries,
  registriesEdit,
  registryEntries,
} from '../registries-conf.ts'
import { parseToml } from '../toml-edit.ts'

const CONF = '/etc/containers/containers.conf'
const CONF_DIR = '/etc/containers/containers.conf.d'
const OWN_CONF = `${CONF_DIR}/zz-shoal.conf`
/** The first of these that exists is the only one that counts for a registry. */
const CERTS_DIRS = ['/etc/containers/certs.d', '/etc/docker/certs.d']

export interface PodmanFacts {
  version: string | undefined
  entries: RegistryEntries
  trust: TrustFolder[]
  /** Of `[engine] env` and `[containers] env`, as they count today. */
  engineEnv: string[]
  containersEnv: string[]
  /** The files that these stand in, with those that everybody may read left out. */
  closed: { path: string; mode: number }[]
  hostname: string
}

/** Podman, and with it Buildah and Skopeo. No daemon: the next pull reads its files. */
export const podman: RuntimeKind<PodmanFacts> = {
  name: 'podman',
  // By mirror it would not verify the token server.
  via: 'proxy',
  hasOwnListeners: true,
  async gather({ tree, run, hostname }, registries) {
    const env = environmentOf(tree)
    return {
      version: /version (\d[\w.~+-]*)/.exec((await run(['podman', '--version'])) ?? '')?.[1],
      entries: registryEntries(tree, 'podman'),
      trust: registries.flatMap((registry) => {
        const all = CERTS_DIRS.map((dir) => trustFoldersIn(tree, dir, [registry]))
        return all.find(([folder]) => tree.list(folder!.path).length > 0) ?? all[1]!
      }),
      ...env,
      hostname,
    }
  },
  plan(facts, settings) {
    if (facts.version === undefined) {
      throw new AttachUnsupportedError('there is no Podman on this machine', {
        hint: 'Install it, or name another runtime: docker, containerd, cri-o or buildkit.',
      })
    }
    return settings.via === 'proxy' ? planProxy(facts, settings) : planMirror(facts, settings)
  },
}

/** Later files win, each with its whole list. */
function environmentOf(tree: FileTree): Pick<PodmanFacts, 'engineEnv' | 'containersEnv' | 'closed'> {
  const names = tree.list(CONF_DIR).filter((name) => name.endsWith('.conf'))
  const paths = [CONF, ...names.map((name) => `${CONF_DIR}/${name}`)].filter((path) => path !== OWN_CONF)
  const configs = paths.map((path) => ({ path, config: parseToml(path, tree.text(path) ?? '') }))
  const last = (section: string) => {
    const lists = configs.map(({ path, config }) => ({ path, list: valueAt(config, [section, 'env']) }))
    return lists.findLast(({ list }) => Array.isArray(list)) as { path: string; list: unknown[] } | undefined
  }
  const [engine, containers] = [last('engine'), last('containers')]
  const sources = new Set([engine, containers].flatMap((one) => one?.path ?? []))
  return {
    engineEnv: (engine?.list ?? []).map(String),
    containersEnv: (containers?.list ?? []).map(String),
    closed: [...sources]
      .map((path) => ({ path, mode: tree.stat(path)!.mode & 0o777 }))
      .filter(({ mode }) => (mode & 0o044) !== 0o044),
  }
}

function planMirror({ version, entries }: PodmanFacts, settings: Settings): Plan {
  const addresses = settings.registries.map((registry) => settings.mirrorsOf[registry])
  return {
    found: `Podman ${version}`,
    edits: [registriesEdit('podman', entries, settings)],
    notes: [
      ...narrowerNotes(entries, settings.registries),
      `Podman sends a mirror only the login for the mirror itself. Without \`podman login ${addresses[0]}\` private images come from their registry and are not shared.`,
      INSECURE_MIRROR_NOTE,
    ],
    restart: [],
    commands: [],
    listeners: ownListeners(settings),
  }
}

function planProxy(facts: PodmanFacts, settings: Settings): Plan {
  const { engineEnv, containersEnv, closed, version, hostname } = facts
  const before = variableIn(engineEnv, 'HTTPS_PROXY')
  const noProxyBefore = variableIn(engineEnv, 'NO_PROXY') ?? ''
  const isChained = before !== undefined && before !== settings.proxyUrl
  const noProxy = extendedNoProxy(noProxyBefore, { ...settings, more: [hostname] })
  const others = engineEnv.filter((entry) => !/^(https_proxy|no_proxy)=/i.test(entry))
  // Podman hands its own proxy to containers, where 127.0.0.1 is another machine.
  const forContainers = isChained
    ? [...containersEnv, `HTTPS_PROXY=${before}`, `NO_PROXY=${noProxyBefore}`]
    : containersEnv
  const config = {
    engine: { env: [...others, `HTTPS_PROXY=${settings.proxyUrl}`, `NO_PROXY=${noProxy}`] },
    containers: { http_proxy: false, ...(forContainers.length === 0 ? {} : { env: forContainers }) },
  }
  return {
    found: `Podman ${version}`,
    edits: [
      {
        path: OWN_CONF,
        after: { text: `${noteFor('podman')}${stringify(config)}\n` },
        mode: closed.reduce((mode, one) => mode & one.mode, 0o644),
      },
      ...trustLinks(facts.trust, settings.authorityFile),
    ],
    notes: [
      ...hiddenNotes(noProxyBefore, settings.registries),
      ...closedNotes(closed),
      'Podman no longer passes proxy variables of its own environment on to containers (http_proxy = false). While nothing answers at the proxy of the node, Podman cannot pull.',
    ],
    restart: [],
    commands: [],
    listeners: [],
    ...(isChained ? { upstream: { proxy: before, noProxy: noProxyBefore } } : {}),
  }
}

function variableIn(env: string[], name: string): string | undefined {
  const value = (key: string) => env.findLast((entry) => entry.startsWith(`${key}=`))?.slice(key.length + 1)
  return value(name) || value(name.toLowerCase()) || undefined
}

/** Our file repeats values of other files, and some may be secret. */
function closedNotes(closed: PodmanFacts['closed']): string[] {
  if (closed.length === 0) return []
  const paths = closed.map(({ path }) => path).join(' and ')
  return [
    `Not every user can read ${paths}, and so not ${OWN_CONF}, which repeats values from there. Podman fails for users who cannot read them.`,
  ]
}
