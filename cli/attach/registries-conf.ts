import { stringify } from 'smol-toml'
import { DOCKER_HUB, type RegistryHost } from '../../core/repository.ts'
import type { FileTree } from './file-tree.ts'
import type { RuntimeName } from './journal.ts'
import { noteFor, type PlannedEdit } from './plan.ts'
import { parseToml, type TomlTable } from './toml-edit.ts'

/** containers-registries.conf(5), which Podman, Buildah, Skopeo and CRI-O read: an entry of ours in a file of our own. */

const MAIN = '/etc/containers/registries.conf'
const FOLDER = '/etc/containers/registries.conf.d'

/** Entries as they count today, by prefix. */
export type RegistryEntries = ReadonlyMap<string, TomlTable>

export function registryEntries(tree: FileTree, runtime: RuntimeName): RegistryEntries {
  const own = fileOf(runtime).slice(FOLDER.length + 1)
  const names = tree.list(FOLDER).filter((name) => name.endsWith('.conf') && !isOurs(name) && name !== own)
  const entries = new Map<string, TomlTable>()
  for (const path of [MAIN, ...names.map((name) => `${FOLDER}/${name}`)]) {
    const { registry } = parseToml(path, tree.text(path) ?? '')
    if (!Array.isArray(registry)) continue
    for (const entry of registry as TomlTable[]) entries.set(String(entry.prefix || entry.location), entry)
  }
  return entries
}

/** Each runtime has its own, with the same content: one of them can be detached. */
function fileOf(runtime: RuntimeName): string {
  return `${FOLDER}/zz-shoal-${runtime}.conf`
}

function isOurs(name: string): boolean {
  return /^zz-shoal-[a-z-]+\.conf$/.test(name)
}

/** The mirror is tried first, then the others of before, then the registry. */
export function registriesEdit(
  runtime: RuntimeName,
  entries: RegistryEntries,
  { registries, mirrorUrl }: { registries: RegistryHost[]; mirrorUrl: string },
): PlannedEdit {
  const blocks = registries.map((registry) => ({ registry: [entryWithMirror(entries, registry, mirrorUrl)] }))
  return {
    path: fileOf(runtime),
    after: { text: `${noteFor(runtime)}${blocks.map((one) => stringify(one)).join('\n')}` },
  }
}

/** Entries for parts of a registry win over ours. */
export function narrowerNotes(entries: RegistryEntries, registries: RegistryHost[]): string[] {
  const narrower = [...entries.keys()].filter((prefix) =>
    registries.some((registry) => prefix.startsWith(`${nameOf(registry)}/`)),
  )
  if (narrower.length === 0) return []
  return [`${MAIN} has entries of their own for ${narrower.join(', ')}: pulls from there are not shared.`]
}

function entryWithMirror(entries: RegistryEntries, registry: RegistryHost, mirrorUrl: string): TomlTable {
  const name = nameOf(registry)
  const [prefix, wider] = widerEntry(entries, name) ?? []
  const { mirror, prefix: _, location, ...rest } = wider ?? {}
  const others = Array.isArray(mirror) ? (mirror as TomlTable[]) : []
  return {
    prefix: name,
    location: prefix === name && typeof location === 'string' ? location : name,
    ...rest,
    mirror: [{ location: mirrorLocation(mirrorUrl, registry), insecure: true }, ...others],
  }
}

/** The entry that counts without ours: of the host, or of a wildcard that covers it. */
function widerEntry(entries: RegistryEntries, name: string): [string, TomlTable] | undefined {
  const covers = (prefix: string) =>
    prefix === name || (prefix.startsWith('*.') && name.replace(/:\d+$/, '').endsWith(prefix.slice(1)))
  return [...entries].filter(([prefix]) => covers(prefix)).sort(([a], [b]) => b.length - a.length)[0]
}

/** These clients add no `?ns=`: the registry is the first part of the path, a port with `_` for the colon. */
function mirrorLocation(mirrorUrl: string, registry: RegistryHost): string {
  return `${mirrorUrl.replace(/^https?:\/\//, '')}/${nameOf(registry).replace(':', '_')}`
}

function nameOf(registry: RegistryHost): string {
  return registry === DOCKER_HUB ? 'docker.io' : registry
}
