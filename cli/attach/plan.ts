import { NoProxy } from '../../core/no-proxy.ts'
import { DOCKER_HUB, type RegistryHost, registryAddress } from '../../core/repository.ts'
import { AttachFileError } from './errors.ts'
import type { Content, FileTree } from './file-tree.ts'
import type { RuntimeName } from './journal.ts'
import type { JsonChange } from './json-edit.ts'

/** What an attachment of one runtime will do. Planning is pure: facts in, files with their new content out. */

/** Runs a program of this machine. @returns its standard output; undefined if it is not there or failed */
export type Run = (argv: string[]) => Promise<string | undefined>

/** The machine as the plans see it. */
export interface Surroundings {
  tree: FileTree
  run: Run
  hostname: string
}

export interface Settings {
  registries: RegistryHost[]
  /** URL of the node's proxy. */
  proxyUrl: string
  /** URL of the node's mirror endpoint, for requests that name their registry. */
  mirrorUrl: string
  /** Addresses of its listeners that are for one registry alone. */
  mirrorsOf: Readonly<Record<string, string>>
  /** The node's authority; for a plan, where every user can read it. */
  authorityFile: string
  via: 'proxy' | 'mirror'
  /** Docker keeps its containers running while it restarts. */
  liveRestore: boolean
}

export interface PlannedEdit {
  path: string
  after: Exclude<Content, undefined>
  changes?: JsonChange[]
  onlyWhile?: string
  mode?: number
}

export interface Plan {
  /** As people call it, with its version. */
  found: string
  edits: PlannedEdit[]
  /** What the person should know. */
  notes: string[]
  /** What must be done before the change counts; [] for nothing. */
  restart: string[]
  /** Run after files were written, and after they were taken back. */
  commands: string[][]
  upstream?: { proxy: string; noProxy: string }
  /** Where the runtime will ask the mirror, as entries of the node's mirrorListen. */
  listeners: string[]
  /** Containers would stop with the restart, and need not. */
  offersLiveRestore?: boolean
  /** Asks the runtime itself about a file, by a copy with the new content: its path stands for `{}`. */
  validate?: { argv: string[]; path: string }
}

/** A runtime: what it is and how it is attached. */
export interface RuntimeKind<Facts> {
  name: RuntimeName
  /** How it is attached unless told otherwise. */
  via: Settings['via']
  /** It does not tell the mirror which registry it means: each registry needs a listener of its own. */
  hasOwnListeners?: true
  gather(surroundings: Surroundings, registries: RegistryHost[]): Promise<Facts>
  /** @throws AttachFileError, AttachUnsupportedError */
  plan(facts: Facts, settings: Settings): Plan
}

export function noteFor(runtime: RuntimeName): string {
  return `# Written by \`shoal attach ${runtime}\`; \`shoal detach ${runtime}\` takes it back.\n`
}

/** Folders of a registry in `certs.d`: image names call Docker Hub docker.io. */
export function trustFolders(registry: RegistryHost): string[] {
  return registry === DOCKER_HUB ? ['docker.io', registry] : [registry]
}

/**
 * NO_PROXY with what Shoal's proxy does not tunnel to: this machine and link-local addresses. Never one that hides a registry.
 */
export function extendedNoProxy(
  existing: string,
  { registries, more }: { registries: RegistryHost[]; more: string[] },
): string {
  const wanted = ['localhost', '127.0.0.0/8', '::1', '169.254.0.0/16', ...more]
  const known = new Set(existing.split(',').map((entry) => entry.trim().toLowerCase()))
  const added = wanted.filter((entry) => !known.has(entry) && hiddenBy(entry, registries).length === 0)
  return [existing.trim().replace(/,+$/, ''), ...added].filter((part) => part !== '').join(',')
}

/** The registries that NO_PROXY keeps away from any proxy. */
export function hiddenBy(noProxy: string, registries: RegistryHost[]): RegistryHost[] {
  const rules = new NoProxy(noProxy)
  return registries.filter((registry) => {
    const { host, port } = registryAddress(registry)
    return rules.has(host, port)
  })
}

/** A folder in `certs.d`, which need not exist. */
export interface TrustFolder {
  path: string
  hasHostsToml: boolean
  /** It does not exist, and would hide what an administrator has for all registries. */
  wouldHideDefault: boolean
}

export function trustFoldersIn(tree: FileTree, certsDir: string, registries: RegistryHost[]): TrustFolder[] {
  const hasDefault = tree.list(`${certsDir}/_default`).length > 0
  return registries.flatMap(trustFolders).map((name) => {
    const path = `${certsDir}/${name}`
    const names = tree.list(path)
    return {
      path,
      hasHostsToml: names.includes('hosts.toml'),
      wouldHideDefault: hasDefault && names.length === 0,
    }
  })
}

/**
 * Links by which Docker and its relatives find the node's authority: one file of Shoal's for all.
 * @throws AttachFileError
 */
export function trustLinks(folders: TrustFolder[], authorityFile: string): PlannedEdit[] {
  return folders.map(({ path, hasHostsToml, wouldHideDefault }) => {
    if (hasHostsToml) {
      throw new AttachFileError(`${path} has a hosts.toml, beside which no certificate is read`, {
        hint: `Add ca = ["${authorityFile}"] to that file, or name only other registries. Nothing was changed.`,
      })
    }
    if (wouldHideDefault) {
      throw new AttachFileError(`a new folder ${path} would hide the _default folder beside it`, {
        hint: `Copy _default to ${path} first, or name only other registries. Nothing was changed.`,
      })
    }
    return { path: `${path}/shoal.crt`, after: { link: authorityFile }, onlyWhile: authorityFile }
  })
}

export function hiddenNotes(noProxy: string, registries: RegistryHost[]): string[] {
  const hidden = hiddenBy(noProxy, registries)
  if (hidden.length === 0) return []
  return [
    `NO_PROXY hides ${hidden.join(', ')}: pulls from there go past Shoal and are not shared. Take out of NO_PROXY what covers it: ${noProxy}`,
  ]
}
