import type { Command } from '../core/command.ts'
import { settings } from '../core/config.ts'
import { type ConfigSchema, environmentPrefix } from '../core/config-keys.ts'
import { type Entry, type Example, exitsOf, isGroup, oldNamesIn, type Placed } from './command-tree.ts'
import { usageOf } from './run-command.ts'

/** All that is said of one place of the tree, in the order of the page: help and man pages only lay it out. */
export interface Explanation {
  /** `shoal tracker init`. */
  name: string
  summary: string
  /** Command lines, with `<…>` for what a person puts in. */
  usages: string[]
  examples: Example[]
  commands: { name: string; summary: string }[]
  flags: ExplainedFlag[]
  /** Of a program: the other ways to give a setting. */
  environment?: string
  /** Former whole names of what is here, with the names of today. */
  oldNames: { oldName: string; name: string }[]
  exits: { code: string; meaning: string }[]
}

export interface ExplainedFlag {
  /** With its dashes. */
  flag: string
  /** Placeholder of its value; absent where it takes none. */
  value?: string
  text: string
}

export const ERRORS = 'An error is one line on standard error, and a hint.'

/** Imports what stands behind the entry, for its flags. */
export async function explain(root: Entry, { entry, path }: Placed): Promise<Explanation> {
  const [program, command] = await Promise.all([entry.program?.(), entry.command?.()])
  const name = path.join(' ')
  return {
    name,
    summary: entry.summary,
    usages: usagesOf({ entry, path }, command),
    examples: entry.examples,
    commands: (entry.children ?? []).map((child) => ({ name: child.name, summary: child.summary })),
    flags: program === undefined ? flagsOf(command) : settingFlags(entry.name, program.schema),
    ...(program && { environment: environmentNote(entry.name) }),
    oldNames: path.length === 1 ? [] : oldNamesBelow(root, name),
    exits: exitsOf(entry),
  }
}

function usagesOf({ entry, path }: Placed, command: Command | undefined): string[] {
  const name = path.join(' ')
  const below = `${name} <command> [flags]`
  const own = command === undefined ? `${name} [flags]` : usageOf(path, command)
  if (isGroup(entry)) return [below]
  return entry.children === undefined ? [own] : [own, below]
}

/** The flags of a program, from the descriptions and defaults of its schema. */
export function settingFlags(program: string, schema: ConfigSchema): ExplainedFlag[] {
  return settings(program, schema).map((key) => {
    const size = key.defaultSize === undefined ? '' : ` (${key.defaultSize})`
    const fallback = key.defaultText === undefined ? '' : ` Default: ${key.defaultText}${size}`
    return {
      flag: key.flag,
      ...(key.kind !== 'boolean' && { value: key.choices?.join('|') ?? key.kind }),
      text: `${key.description}${key.isRequired ? ' Required.' : fallback}`,
    }
  })
}

function flagsOf(command: Command | undefined): ExplainedFlag[] {
  return Object.entries(command?.flags ?? {}).map(([name, flag]) => ({
    flag: `--${name}`,
    ...(flag.type !== 'boolean' && { value: flag.value ?? 'text' }),
    text: `${flag.description}${flag.default === undefined ? '' : ` Default: ${flag.default}`}`,
  }))
}

function environmentNote(program: string): string {
  return `Every flag is also an environment variable (--config-file: ${environmentPrefix(program)}CONFIG_FILE) and a key of the JSON config file (logLevel for --log-level). Flags win over the environment, the environment over the file.`
}

function oldNamesBelow(root: Entry, name: string): Explanation['oldNames'] {
  return oldNamesIn(root)
    .filter(({ oldName }) => `shoal ${oldName}`.startsWith(`${name} `))
    .map(({ oldName, path }) => ({ oldName: `shoal ${oldName}`, name: path.join(' ') }))
}
