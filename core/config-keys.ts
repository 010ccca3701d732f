import type { z } from 'zod'
import { byteSize } from './byte-size.ts'
import { addressText } from './network.ts'
import type { RenamedSetting } from './renamed-settings.ts'

/** A program's configuration: a strict object whose keys are settings. */
export type ConfigSchema = z.ZodObject
/** How a setting's text (flag, environment) becomes a value. `text` stays text, and the schema reads it itself. */
export type ConfigValueKind = 'number' | 'boolean' | 'list' | 'record' | 'text'

/** One setting under its three names, all derived from the schema's key. */
export interface ConfigKey {
  key: string
  flag: string
  environment: string
  kind: ConfigValueKind
  description: string
  /** The default as a person would write it; absent: none. */
  defaultText?: string
  /** The same for people to read, if it is a large amount of bytes: `20 GiB`. */
  defaultSize?: string
  isRequired: boolean
  choices?: string[]
  /** This is an old name of that setting (core/renamed-settings.ts). */
  newName?: string
}

/** `listenPort` → `--listen-port`. */
export function flagName(key: string): string {
  return `--${words(key).join('-')}`
}

/** `listenPort` → `SHOAL_TRACKER_LISTEN_PORT`. */
function environmentName(program: string, key: string): string {
  return environmentPrefix(program) + words(key).join('_').toUpperCase()
}

export function environmentPrefix(program: string): string {
  return `SHOAL_${program.toUpperCase()}_`
}

function words(key: string): string[] {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(' ')
}

export function configKeys(program: string, schema: ConfigSchema): ConfigKey[] {
  return Object.entries(schema.shape).map(([key, field]) => ({
    key,
    flag: flagName(key),
    environment: environmentName(program, key),
    ...withSize(key, described(field as Schema)),
  }))
}

/** Old names that still work, as settings of their own. */
export function oldConfigKeys(
  program: string,
  keys: readonly ConfigKey[],
  renamed: readonly RenamedSetting[],
): ConfigKey[] {
  const own = renamed.filter((one) => one.program === program)
  return own.flatMap(({ from, to }) => {
    const key = keys.find((candidate) => candidate.key === to)
    if (key === undefined) return []
    const environment = environmentName(program, from)
    return [{ ...key, key: from, flag: flagName(from), environment, newName: to }]
  })
}

/** Text that is not exactly a number or boolean stays text, so that the schema refuses it by its own rule. */
export function fromText(key: ConfigKey, text: string): unknown {
  if (key.kind === 'number') return /^-?\d{1,16}(\.\d{1,16})?$/.test(text) ? Number(text) : text
  if (key.kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  if (key.kind === 'text') return text
  if (!/^\s*[[{]/.test(text)) return key.kind === 'list' ? text.split(',').map((item) => item.trim()) : text
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function withSize(key: string, base: Described): Described & { defaultSize?: string } {
  const bytes = /bytes/i.test(key) && base.kind === 'number' ? Number(base.defaultText) : 0
  return bytes >= 1024 ? { ...base, defaultSize: byteSize(bytes) } : base
}

/** The part of a zod schema that is read here (zod 4: "Zod Core", `_zod.def`). */
interface Schema {
  description?: string | undefined
  _zod: {
    def: {
      type: string
      innerType?: Schema
      in?: Schema
      out?: Schema
      element?: Schema
      shape?: Record<string, Schema>
      defaultValue?: unknown
      entries?: Record<string, string>
    }
  }
}

type Described = Pick<ConfigKey, 'kind' | 'description' | 'defaultText' | 'isRequired' | 'choices'>

const KINDS: Record<string, ConfigValueKind> = {
  number: 'number',
  boolean: 'boolean',
  array: 'list',
  object: 'record',
  record: 'record',
}

/** Removes wrappers (optional, default, preprocess, transform) down to the type that a person writes. */
function described(schema: Schema): Described {
  const { def } = schema._zod
  const inner = def.innerType
  if (inner !== undefined) {
    const base = described(inner)
    const description = schema.description ?? base.description
    if (def.type === 'default' || def.type === 'prefault') {
      return { ...base, description, isRequired: false, defaultText: defaultText(def.defaultValue) }
    }
    return { ...base, description, isRequired: base.isRequired && def.type !== 'optional' }
  }
  if (def.type === 'pipe') return describedPipe(schema)
  const description = schema.description ?? ''
  const kind = KINDS[def.type] ?? 'text'
  return {
    kind,
    description,
    isRequired: true,
    ...(def.entries === undefined ? {} : { choices: Object.values(def.entries) }),
  }
}

/** A preprocessed schema reads text itself; people write the input of a transformed one. */
function describedPipe(schema: Schema): Described {
  const { def } = schema._zod
  const isPreprocessed = def.in?._zod.def.type === 'transform'
  const base = described(isPreprocessed ? def.out! : def.in!)
  return {
    ...base,
    description: schema.description ?? (base.description || (def.out?.description ?? '')),
    ...(isPreprocessed ? { kind: 'text' } : {}),
  }
}

function defaultText(value: unknown): string {
  if (isAddress(value)) return addressText(value)
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function isAddress(value: unknown): value is { host: string; port: number } {
  return typeof value === 'object' && value !== null && 'host' in value && 'port' in value
}

/** The permitted keys at `path`, for a hint at a misspelt one; [] if the path leads elsewhere. */
export function keysAt(schema: ConfigSchema, path: readonly PropertyKey[]): string[] {
  let at: Schema | undefined = schema as unknown as Schema
  for (const step of path) {
    at = peeled(at)
    at = typeof step === 'number' ? at?._zod.def.element : at?._zod.def.shape?.[String(step)]
  }
  return Object.keys(peeled(at)?._zod.def.shape ?? {})
}

function peeled(schema: Schema | undefined): Schema | undefined {
  if (schema === undefined) return undefined
  const { def } = schema._zod
  if (def.innerType !== undefined) return peeled(def.innerType)
  if (def.type !== 'pipe') return schema
  return peeled(def.in?._zod.def.type === 'transform' ? def.out : def.in)
}
