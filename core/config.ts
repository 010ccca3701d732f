import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { z } from 'zod'
import {
  type ConfigKey,
  type ConfigSchema,
  configKeys,
  environmentPrefix,
  fromText,
  keysAt,
  oldConfigKeys,
} from './config-keys.ts'
import { credentialFile } from './credentials.ts'
import { ensureFolder } from './data-folder.ts'
import { explainDisk } from './disk-space.ts'
import { ShoalError } from './errors.ts'
import { issueWords } from './issue-words.ts'
import { nearestName } from './nearest-name.ts'
import { RENAMED_SETTINGS, type RenamedSetting } from './renamed-settings.ts'

/**
 * One strict schema per program defines its settings: flag over environment over file over default. Names are derived
 * mechanically (`listenPort`, `--listen-port`, `SHOAL_TRACKER_LISTEN_PORT`). An unknown name in any source is an error,
 * an empty string counts as absent, and text becomes a number or a boolean only if it is exactly one.
 */

/** The configuration or one of its files cannot be used: print message and hint, and exit with 2. */
export class ConfigError extends ShoalError {
  readonly code = 'CONFIG'
}

export interface ConfigSources<Schema extends ConfigSchema> {
  /** `node`, `tracker`, …; decides the prefix of environment variables. */
  program: string
  schema: Schema
  /** The arguments after the program's name on the command line. */
  argv: readonly string[]
  env: Readonly<Record<string, string | undefined>>
  /** Called for each setting that is given by its old name. */
  onOldName?: (used: OldNameUsed) => void
  /** Default: RENAMED_SETTINGS. */
  renamed?: readonly RenamedSetting[]
}

export interface OldNameUsed {
  from: string
  to: string
  /** Flag, variable, file or credential. */
  source: string
}

/** Bound of a configuration file, in bytes. */
export const CONFIG_FILE_BYTES_MAX = 1024 * 1024
/** Bound of a secret file, in bytes: a bundle of key and certificates fits. */
export const SECRET_FILE_BYTES_MAX = 64 * 1024
const CONFIG_FILE_KEY = 'configFile'

/** A setting's value, with the name that the person wrote. */
interface Found {
  value: unknown
  source: string
}

/**
 * Reads, checks and freezes a program's configuration.
 * @throws ConfigError with a hint
 */
export function loadConfig<Schema extends ConfigSchema>(
  sources: ConfigSources<Schema>,
): Readonly<z.output<Schema>> {
  const { program, schema, renamed = RENAMED_SETTINGS } = sources
  const keys = settings(program, schema)
  const names = [...keys, ...oldConfigKeys(program, keys, renamed)]
  const flags = readFlags(sources, names)
  const environment = readEnvironment(sources, names)
  const configFile = (flags.get(CONFIG_FILE_KEY) ?? environment.get(CONFIG_FILE_KEY))?.value
  const file = configFile === undefined ? new Map<string, Found>() : readConfigFile(String(configFile), names)
  const given = [file, environment, flags]
  const credentials = readCredentials(sources, names)
  for (const { key, newName } of names) {
    if (newName !== undefined) takeUpOldName({ from: key, to: newName }, given, credentials, sources)
  }
  const found = new Map([...given, credentials].flatMap((source) => [...source]))
  found.delete(CONFIG_FILE_KEY)
  const values = Object.fromEntries([...found].map(([key, { value }]) => [key, value]))
  const parsed = schema.safeParse(values)
  if (!parsed.success) throw invalid(parsed.error.issues[0]!, found, keys, sources)
  return deepFreeze(parsed.data)
}

/** The file that `loadConfig` would read. @throws ConfigError */
export function configFileOf(sources: ConfigSources<ConfigSchema>): string | undefined {
  const keys = settings(sources.program, sources.schema)
  const given = [readFlags(sources, keys), readEnvironment(sources, keys)]
  const file = given.find((source) => source.has(CONFIG_FILE_KEY))?.get(CONFIG_FILE_KEY)
  return file && String(file.value)
}

/** All settings of a program, including the name of the file. */
export function settings(program: string, schema: ConfigSchema): ConfigKey[] {
  const configFile = z.object({
    [CONFIG_FILE_KEY]: z.string().optional().describe('JSON file with any of these settings.'),
  })
  return [...configKeys(program, schema), ...configKeys(program, configFile)]
}

/**
 * Puts what stands under an old name under the new one.
 * @throws ConfigError where both names are given, in any two places: which one is meant? A credential precedes both.
 */
function takeUpOldName(
  { from, to }: Pick<OldNameUsed, 'from' | 'to'>,
  given: Map<string, Found>[],
  credentials: Map<string, Found>,
  { onOldName }: Pick<ConfigSources<ConfigSchema>, 'onOldName'>,
): void {
  const byNewName = given.find((source) => source.has(to))?.get(to)
  for (const source of [...given, credentials]) {
    const old = source.get(from)
    if (old === undefined) continue
    if (byNewName !== undefined && source !== credentials) {
      throw new ConfigError(`${to} is given twice: by ${byNewName.source}, and as ${from} by ${old.source}`, {
        hint: `${from} is the old name of ${to}. Remove it.`,
      })
    }
    source.delete(from)
    if (!source.has(to)) source.set(to, old)
    onOldName?.({ from, to, source: old.source })
  }
}

function readFlags({ argv, program }: ConfigSources<ConfigSchema>, keys: ConfigKey[]): Map<string, Found> {
  const found = new Map<string, Found>()
  const rest = [...argv]
  while (rest.length > 0) {
    const argument = rest.shift()!
    const [flag = '', ...inline] = argument.split('=')
    const key = keys.find((candidate) => candidate.flag === flag)
    if (key === undefined) throw unknownName(argument, flag, flagsOf(keys), program)
    if (found.has(key.key)) throw new ConfigError(`${flag} is given twice`, { hint: 'Give it once.' })
    const value = inline.length > 0 ? inline.join('=') : flagValue(key, rest)
    if (value !== '') found.set(key.key, { value: fromText(key, value), source: flag })
  }
  return found
}

function flagsOf(keys: ConfigKey[]): string[] {
  return current(keys).map((key) => key.flag)
}

/** The names that people are told of. */
function current(keys: ConfigKey[]): ConfigKey[] {
  return keys.filter(({ newName }) => newName === undefined)
}

/** A boolean flag may stand alone; every other takes the next argument. */
function flagValue(key: ConfigKey, rest: string[]): string {
  if (key.kind === 'boolean' && rest[0] !== 'true' && rest[0] !== 'false') return 'true'
  const next = rest.shift()
  if (next === undefined || next.startsWith('--')) {
    throw new ConfigError(`${key.flag} has no value`, { hint: `Write ${key.flag} <value>.` })
  }
  return next
}

function readEnvironment(
  { env, program }: ConfigSources<ConfigSchema>,
  keys: ConfigKey[],
): Map<string, Found> {
  const found = new Map<string, Found>()
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(environmentPrefix(program)) || value === undefined || value === '') continue
    const key = keys.find((candidate) => candidate.environment === name)
    if (key !== undefined) found.set(key.key, { value: fromText(key, value), source: name })
    else if (!isKubernetesServiceLink(name)) {
      const names = current(keys).map((candidate) => candidate.environment)
      throw unknownName(`environment variable ${name}`, name, names, program)
    }
  }
  return found
}

/**
 * Kubernetes adds a service `shoal-tracker` to the environment of every pod of its namespace (SHOAL_TRACKER_SERVICE_HOST,
 * SHOAL_TRACKER_PORT_7443_TCP_ADDR; "Discovering services"). These are not settings.
 */
function isKubernetesServiceLink(name: string): boolean {
  return /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/.test(
    name,
  )
}

/** `joinTokenFile` is the credential `join-token`. It precedes all other sources: nobody else can put it there. */
function readCredentials({ env }: ConfigSources<ConfigSchema>, keys: ConfigKey[]): Map<string, Found> {
  const found = new Map<string, Found>()
  for (const { key, flag } of keys.filter(({ flag }) => flag.endsWith('-file'))) {
    if (key === CONFIG_FILE_KEY) continue
    const name = flag.slice('--'.length, -'-file'.length)
    const path = credentialFile(name, env)
    if (path !== undefined) found.set(key, { value: path, source: `credential ${name}` })
  }
  return found
}

function readConfigFile(path: string, keys: ConfigKey[]): Map<string, Found> {
  const text = readBounded(path, 'configFile', CONFIG_FILE_BYTES_MAX)
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (cause) {
    const why = (cause as Error).message
    throw new ConfigError(`${path} is not JSON: ${why}`, { cause, hint: 'Write one JSON object.' })
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new ConfigError(`${path} does not hold a JSON object`, { hint: 'Write one JSON object.' })
  }
  const found = new Map<string, Found>()
  const known = keys.filter(({ key }) => key !== CONFIG_FILE_KEY)
  for (const [key, value] of Object.entries(content)) {
    if (!known.some((one) => one.key === key)) {
      const names = current(known).map((one) => one.key)
      throw unknownName(`key ${key} in ${path}`, key, names)
    }
    if (value !== '') found.set(key, { value, source: path })
  }
  return found
}

function unknownName(what: string, name: string, known: string[], program?: string): ConfigError {
  const nearest = nearestName(name, known)
  const list = program === undefined ? `Known are ${known.join(', ')}.` : `See shoal ${program} --help.`
  return new ConfigError(`unknown setting: ${what}`, {
    hint: nearest === undefined ? list : `Did you mean ${nearest}?`,
  })
}

function invalid(
  issue: z.core.$ZodIssue,
  found: Map<string, Found>,
  keys: ConfigKey[],
  { schema, program }: ConfigSources<ConfigSchema>,
): ConfigError {
  const key = keys.find((candidate) => candidate.key === issue.path[0])
  const source = found.get(String(issue.path[0]))?.source
  if (key !== undefined && source === undefined) {
    return new ConfigError(`${key.key} is not set`, {
      hint: `${key.description} Set ${key.flag}, ${key.environment}, or ${key.key} in the config file.`.trim(),
    })
  }
  const where = `${issue.path.join('.')}${source === undefined ? '' : ` (from ${source})`}`
  if (issue.code === 'unrecognized_keys') {
    return unknownName(`key ${issue.keys[0]} in ${where}`, issue.keys[0]!, keysAt(schema, issue.path))
  }
  const received = issue.path.length === 1 ? valueText(found.get(String(issue.path[0]))?.value) : ''
  return new ConfigError(`${where}: ${issueWords(issue)}${received}`, {
    hint: key?.description || `See shoal ${program} --help.`,
  })
}

/** The value for the message, if it is short and plain. Configuration has no secrets, only paths to them. */
function valueText(value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return ''
  return `, got ${JSON.stringify(value).slice(0, 80)}`
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) for (const item of Object.values(value)) deepFreeze(item)
  return Object.freeze(value)
}

/**
 * Reads a secret from the file of setting `name`, without the white space around it.
 * @throws ConfigError if it cannot be read, is empty or is longer than SECRET_FILE_BYTES_MAX
 */
export function readSecretFile(path: string, name: string): string {
  const secret = readBounded(path, name, SECRET_FILE_BYTES_MAX).trim()
  if (secret === '') throw new ConfigError(`${name}: ${path} is empty`, { hint: 'Put the secret into it.' })
  return secret
}

/**
 * Whether users other than the owner may read a file. Warn, do not refuse: Docker mounts secrets with mode 0444.
 */
export function isReadableByOthers(path: string): boolean {
  return (statSync(path).mode & 0o044) !== 0
}

/**
 * Makes the folder of setting `dataDir`, for its owner alone.
 * @throws ConfigError if it cannot be made or written, DataFolderError if others can change its contents
 */
export function ensureDataDir(path: string): void {
  try {
    ensureFolder(path)
    accessSync(path, constants.W_OK)
  } catch (cause) {
    const explained = explainDisk(cause, path)
    if (explained instanceof ShoalError) throw explained
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new ConfigError(`dataDir: cannot write ${path} (${code})`, {
      cause,
      hint: 'Run as a user who may write there, or name another folder with --data-dir.',
    })
  }
}

function readBounded(path: string, name: string, bytesMax: number): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new ConfigError(`${name}: cannot read ${path} (${code})`, {
      cause,
      hint: READ_HINTS[code] ?? READ_HINT,
    })
  }
  if (Buffer.byteLength(text) > bytesMax) {
    throw new ConfigError(`${name}: ${path} is larger than ${bytesMax} bytes`, { hint: READ_HINT })
  }
  return text
}

const READ_HINT = 'Check that this is the right file.'
const READ_HINTS: Record<string, string> = {
  ENOENT: 'There is no such file; check the path.',
  EACCES: 'The user who runs Shoal must be allowed to read it.',
  EISDIR: 'This is a folder; name a file in it.',
}

const LISTEN_ADDRESS = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/

export interface ListenAddress {
  host: string
  port: number
}

/** Schema of `host:port` (`[::1]:7070` for IPv6) → { host, port }. Port 0 takes a free one. */
export const listenAddress = z.string().transform((text, context): ListenAddress => {
  const [, ipv6, name, port] = LISTEN_ADDRESS.exec(text) ?? []
  const host = ipv6 ?? name
  if (host === undefined || Number(port) > 65535) {
    context.issues.push({ code: 'custom', message: 'expected host:port, as 127.0.0.1:7070', input: text })
    return z.NEVER
  }
  return { host, port: Number(port) }
})
