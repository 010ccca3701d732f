import type { FileTree } from './file-tree.ts'

/** What systemd gives a service, as far as files say it (systemd.exec(5), systemd.unit(5)). */
export interface UnitFacts {
  /** By name; of `Environment=`. */
  environment: ReadonlyMap<string, string>
  /** Of `EnvironmentFile=`, which wins over `Environment=`. */
  fromFiles: ReadonlyMap<string, string>
  execStart: string
  /** Names of its drop-in files, sorted. */
  dropIns: string[]
}

/** Later wins for a unit, and for drop-ins of one name. */
const UNIT_FOLDERS = ['/lib/systemd/system', '/usr/lib/systemd/system', '/etc/systemd/system']
/** Sorts after the names that people give. */
export const DROP_IN = 'zz-shoal.conf'

export function dropInPath(unit: string, name = DROP_IN): string {
  return `/etc/systemd/system/${unit}.d/${name}`
}

/** @returns undefined if the unit does not exist */
export function unitFacts(tree: FileTree, unit: string): UnitFacts | undefined {
  // Where /lib is a link, what is below stands below /usr/lib too.
  const folders = UNIT_FOLDERS.filter(
    (folder) => !(folder.startsWith('/lib/') && tree.stat('/lib')?.isSymbolicLink()),
  )
  const text = folders.map((folder) => tree.text(`${folder}/${unit}`)).findLast((one) => one !== undefined)
  if (text === undefined) return undefined
  const dropIns = new Map<string, string>()
  for (const folder of folders) {
    for (const name of tree.list(`${folder}/${unit}.d`).filter((one) => one.endsWith('.conf'))) {
      dropIns.set(name, tree.text(`${folder}/${unit}.d/${name}`) ?? '')
    }
  }
  const names = [...dropIns.keys()].sort()
  return { ...settingsOf(tree, [text, ...names.map((name) => dropIns.get(name)!)]), dropIns: names }
}

function settingsOf(tree: FileTree, texts: string[]): Omit<UnitFacts, 'dropIns'> {
  const environment = new Map<string, string>()
  const fromFiles = new Map<string, string>()
  let execStart = ''
  for (const [key, value] of texts.flatMap(assignments)) {
    if (key === 'ExecStart') execStart = value
    if (key === 'Environment' && value === '') environment.clear()
    if (key === 'EnvironmentFile' && value === '') fromFiles.clear()
    if (key === 'Environment') for (const [name, text] of variablesOf(value)) environment.set(name, text)
    if (key !== 'EnvironmentFile' || value === '') continue
    for (const [name, text] of fileVariables(tree.text(value.replace(/^-/, '')) ?? ''))
      fromFiles.set(name, text)
  }
  return { environment, fromFiles, execStart }
}

function assignments(text: string): [string, string][] {
  const lines = text.replaceAll(/\\\n/g, ' ').split('\n')
  return lines.flatMap((line): [string, string][] => {
    const found = /^\s*([A-Za-z]+)\s*=\s*(.*?)\s*$/.exec(line)
    return found === null ? [] : [[found[1]!, found[2]!]]
  })
}

/** `"A=b c" D=e`, with `%%` for one per cent sign. */
function variablesOf(text: string): [string, string][] {
  const words = text.match(/"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+/g) ?? []
  return words.map((word) => pairOf(unquoted(word).replaceAll('%%', '%')))
}

function fileVariables(text: string): [string, string][] {
  const lines = text.split('\n').filter((line) => /^\s*[A-Za-z_]\w*=/.test(line))
  return lines.map((line) => {
    const [name, value] = pairOf(line.trim())
    return [name, unquoted(value)]
  })
}

function unquoted(word: string): string {
  return /^".*"$|^'.*'$/s.test(word) ? word.slice(1, -1).replaceAll(/\\(.)/g, '$1') : word
}

function pairOf(text: string): [string, string] {
  const [name = '', value = ''] = text.split(/=(.*)/s)
  return [name, value]
}

/** A proxy variable as Go reads it: capitals first. */
export function proxyVariable({ environment, fromFiles }: UnitFacts, name: string): string | undefined {
  const variables = new Map([...environment, ...fromFiles])
  return variables.get(name) || variables.get(name.toLowerCase()) || undefined
}

/**
 * The drop-in that sets variables for a service.
 * @returns its files by path
 */
export function environmentDropIn(
  unit: string,
  { fromFiles }: UnitFacts,
  variables: Record<string, string>,
  note: string,
): { path: string; text: string }[] {
  const entries = Object.entries(variables)
  const quoted = ([name, value]: [string, string]) => `${name}=${value}`.replaceAll(/["\\]/g, '\\$&')
  const lines = entries.map((entry) => `Environment="${quoted(entry).replaceAll('%', '%%')}"`)
  const main = { path: dropInPath(unit), text: `${note}[Service]\n${lines.join('\n')}\n` }
  if (!entries.some(([name]) => fromFiles.has(name))) return [main]
  const file = dropInPath(unit, 'zz-shoal.env')
  const values = entries.map((entry) => quoted(entry).replace('=', '="').concat('"'))
  return [
    { path: file, text: `${note}${values.join('\n')}\n` },
    { ...main, text: `${main.text}EnvironmentFile=${file}\n` },
  ]
}
