import type { Logger } from 'pino'
import type { z } from 'zod'
import type { Command } from '../core/command.ts'
import type { ConfigSchema } from '../core/config-keys.ts'
import type { Defects } from '../core/defects.ts'
import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'
import type { RecentLog } from '../core/recent-log.ts'

/**
 * What the command line is made of, and how words find their place in it. The tree is data: help, completion and tests
 * read the same entries that are run. Code behind an entry is imported when the entry is run or explained, never before.
 */

/** What a long-running program has started. */
export interface Running {
  readonly defects: Defects
  /** Rejects when it has to end by itself. */
  readonly failed?: Promise<never>
  /** Reads the settings again, and logs what came of it. Absent: SIGHUP ends the program. */
  reload?(): Promise<unknown>
  close(): Promise<void>
}

/** Runs until it is told to stop. Its flags, environment and file come from the schema. */
export interface Program<Schema extends ConfigSchema = ConfigSchema> {
  schema: Schema
  start(
    config: Readonly<z.output<Schema>>,
    log: Logger,
    started: {
      /** Reads the settings again, from the same places. Throws ConfigError */
      reread: () => Readonly<z.output<Schema>>
      /** The file with the settings. */
      configFile: string | undefined
      recentLog: RecentLog
    },
  ): Promise<Running>
  /** A signal to read the settings again may come before it runs. */
  canReload?: boolean
}

/** Ties the type of the settings to the schema. */
export function program<Schema extends ConfigSchema>(definition: Program<Schema>): Program {
  return definition as unknown as Program
}

/** A command line as a person would type it, and what it does. */
export interface Example {
  line: string
  does: string
}

/** What help, completion, man pages and tests read; whatever they cannot do without has no `?`. */
export interface Entry {
  name: string
  /** One or two sentences, without the name. */
  summary: string
  examples: [Example, ...Example[]]
  /** What exit codes mean, beside EXITS or in their place. Scripts rely on them. */
  exits?: Readonly<Record<number, string>>
  /** Other names in the same place, as good as the first. */
  aliases?: string[]
  /** Whole names of former times (`certs cluster`): understood with a note on standard error, and not completed. */
  oldNames?: string[]
  /** At most one of these two; an entry with neither only groups its children. */
  program?: () => Promise<Program>
  command?: () => Promise<Command>
  children?: Entry[]
}

/** What exit codes mean where an entry says nothing else (cli/shoal.ts). */
export const EXITS = {
  0: 'done',
  1: 'something failed',
  2: 'the command line or a setting is wrong',
} as const
/** For a program that runs until it is told to stop. */
export const PROGRAM_EXITS = { 0: 'stopped by a signal, with all parts closed' } as const

/** Sorted by code. */
export function exitsOf({ exits }: Entry): { code: string; meaning: string }[] {
  return Object.entries({ ...EXITS, ...exits }).map(([code, meaning]) => ({ code, meaning }))
}

/** An entry with its whole name: `['shoal', 'admin', 'cluster']`. */
export interface Placed {
  entry: Entry
  path: string[]
}

export interface Found extends Placed {
  /** What follows the name. */
  rest: string[]
  isHelpWanted: boolean
  /** The old name that was written, as a whole: `shoal certs cluster`. */
  oldName?: string
}

/** Every entry, parents before their children. */
export function placedIn(root: Entry, above: string[] = []): Placed[] {
  const path = [...above, root.name]
  return [{ entry: root, path }, ...(root.children ?? []).flatMap((child) => placedIn(child, path))]
}

export function namesOf({ name, aliases = [] }: Entry): string[] {
  return [name, ...aliases]
}

/** @throws UsageError with the nearest name as the hint */
export function findEntry(root: Entry, argv: string[]): Found {
  const moved = movedFrom(root, argv)
  const words = moved === undefined ? argv : [...moved.path.slice(1), ...argv.slice(moved.words)]
  let at: Placed = { entry: root, path: [root.name] }
  let taken = 0
  for (; taken < words.length; taken++) {
    const child = at.entry.children?.find((one) => namesOf(one).includes(words[taken]!))
    if (child === undefined) break
    at = { entry: child, path: [...at.path, child.name] }
  }
  const rest = words.slice(taken)
  const [next = '-'] = rest
  if (at.entry.children !== undefined && next === 'help') {
    return { ...findEntry(root, [...at.path.slice(1), ...rest.slice(1)]), isHelpWanted: true }
  }
  const flags = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
  const isHelpWanted = flags.some((word) => word === '--help' || word === '-h')
  if (at.entry.children !== undefined && !next.startsWith('-')) throw unknownCommand(root, at, next)
  if (!isHelpWanted && isGroup(at.entry) && rest.length > 0) {
    throw new UsageError(`unknown flag: ${shown(next)}`, { hint: `See ${at.path.join(' ')} --help.` })
  }
  // The end of the old name is where the end of the new one would be: a group that moved took its children along.
  const written = argv.slice(0, argv.length - rest.length)
  return { ...at, rest, isHelpWanted, ...(moved === undefined ? {} : { oldName: nameOf(root, written) }) }
}

export function isGroup({ program, command }: Entry): boolean {
  return program === undefined && command === undefined
}

/** The entry that was once called as `argv` begins, by its longest old name. */
function movedFrom(root: Entry, argv: string[]): { path: string[]; words: number } | undefined {
  const olds = oldNamesIn(root).map(({ oldName, path }) => ({ words: oldName.split(' '), path }))
  const fitting = olds.filter(({ words }) => words.every((word, index) => word === argv[index]))
  const longest = fitting.sort((a, b) => b.words.length - a.words.length)[0]
  return longest && { path: longest.path, words: longest.words.length }
}

export function oldNamesIn(root: Entry): { oldName: string; path: string[] }[] {
  return placedIn(root).flatMap(({ entry, path }) =>
    (entry.oldNames ?? []).map((oldName) => ({ oldName, path })),
  )
}

function unknownCommand(root: Entry, { entry, path }: Placed, word: string): UsageError {
  return new UsageError(`there is no command ${shown(word)} in ${path.join(' ')}`, {
    hint: hintFor(root, { entry, path }, word),
  })
}

/** A child, a child's old name, or the same word elsewhere in the tree. */
function hintFor(root: Entry, { entry, path }: Placed, word: string): string {
  const names = new Map<string, string[]>()
  for (const { oldName, path: newPath } of oldNamesIn(root)) {
    const words = oldName.split(' ')
    if (words.slice(0, -1).join(' ') === path.slice(1).join(' ')) names.set(words.at(-1)!, newPath)
  }
  for (const child of entry.children ?? []) {
    for (const name of namesOf(child)) names.set(name, [...path, child.name])
  }
  const near = names.get(nearestName(word, names.keys()) ?? '')
  const elsewhere = placedIn(root).find((one) => namesOf(one.entry).includes(word))?.path
  const meant = near ?? elsewhere
  return meant === undefined
    ? `${path.join(' ')} --help lists the commands.`
    : `Did you mean ${meant.join(' ')}?`
}

function nameOf(root: Entry, words: string[]): string {
  return [root.name, ...words].join(' ')
}

function shown(word: string): string {
  return JSON.stringify(word.slice(0, 80))
}
