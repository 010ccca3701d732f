import { stringify } from 'smol-toml'
import { DOCKER_HUB, type RegistryHost } from '../../core/repository.ts'
import { AttachUnsupportedError } from './errors.ts'
import type { FileTree } from './file-tree.ts'
import type { RuntimeName } from './journal.ts'
import { noteFor, type PlannedEdit, type Settings } from './plan.ts'
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
  { registries, mirrorsOf }: Pick<Settings, 'registries' | 'mirrorsOf'>,
): PlannedEdit {
  const blocks = registries.map((registry) => ({
    registry: [entryWithMirror(entries, registry, mirrorOf(mirrorsOf, registry))],
  }))
  return {
    path: fileOf(runtime),
    after: { text: `${noteFor(runtime)}${blocks.map((one) => stringify(one)).join('\n')}` },
  }
}

/** Of a mirror without TLS, for clients of containers-registries.conf(5). */
export const INSECURE_MIRROR_NOTE =
  'With a mirror these clients do not verify the token server of the registry, to which they send the password. Where others could stand between this machine and its token server, use a proxy.'

/** Entries for parts of a registry win over ours. */
export function narrowerNotes(entries: RegistryEntries, registries: RegistryHost[]): string[] {
  const narrower = [...entries.keys()].filter((prefix) =>
    registries.some((registry) => prefix.startsWith(`${nameOf(registry)}/`)),
  )
  if (narrower.length === 0) return []
  return [`${MAIN} has entries of their own for ${narrower.join(', ')}: pulls from there are not shared.`]
}

/** These clients do not say which registry they mean: it must have a listener for itself. @throws AttachUnsupportedError */
function mirrorOf(mirrorsOf: Settings['mirrorsOf'], registry: RegistryHost): string {
  const address = mirrorsOf[registry]
  if (address !== undefined) return address
  const place = `${registry}=127.0.0.1:578`
  throw new AttachUnsupportedError(`the mirror has no listener for ${registry} alone`, {
    hint: `Start the node with ${place} in --mirror-listen, and give --mirror ${place} here. Nothing was changed.`,
  })
}

function entryWithMirror(entries: RegistryEntries, registry: RegistryHost, address: string): TomlTable {
  const name = nameOf(registry)
  const [prefix, wider] = widerEntry(entries, name) ?? []
  const { mirror, prefix: _, location, ...rest } = wider ?? {}
  const others = Array.isArray(mirror) ? (mirror as TomlTable[]) : []
  return {
    prefix: name,
    location: prefix === name && typeof location === 'string' ? location : name,
    ...rest,
    mirror: [{ location: address, insecure: true }, ...others],
  }
}

/** The entry that counts without ours: of the host, or of a wildcard that covers it. */
function widerEntry(entries: RegistryEntries, name: string): [string, TomlTable] | undefined {
  const covers = (prefix: string) =>
    prefix === name || (prefix.startsWith('*.') && name.replace(/:\d+$/, '').endsWith(prefix.slice(1)))
  return [...entries].filter(([prefix]) => covers(prefix)).sort(([a], [b]) => b.length - a.length)[0]
}

function nameOf(registry: RegistryHost): string {
  return registry === DOCKER_HUB ? 'docker.io' : registry
}
