import { parseArgs } from 'node:util'
import { findEntry, isGroup, type Placed } from '../../cli/command-tree.ts'
import { TREE } from '../../cli/tree.ts'
import { settings } from '../../core/config.ts'
import { isSource, repositoryFiles, textOf } from './source-files.ts'

/** Command lines in pages: where they stand, and whether the programs of this checkout would understand them. */

export interface WrittenCommand {
  line: string
  words: string[]
  /** Stands in a sentence or a table, and may leave out arguments. */
  isInline: boolean
  /** A block that is marked as shell: nothing else may stand in it. */
  isShell: boolean
}

const FENCE = /^```(\w*)\n([\s\S]*?)^```$/gm
const SHELLS = new Set(['sh', 'bash'])

/** Commands in blocks, and those in backticks that begin with `shoal` or `npm`. */
export function commandsIn(page: string): WrittenCommand[] {
  const blocks = [...page.matchAll(FENCE)].flatMap(([, language = '', text = '']) => {
    const isShell = SHELLS.has(language)
    if (!isShell && language !== '') return []
    return linesOf(text).flatMap((line) =>
      commandsOf(line).map((words) => ({ line, words, isInline: false, isShell })),
    )
  })
  const inline = [...page.replaceAll(FENCE, '').matchAll(/`([^`]+)`/g)]
    .map(([, text = '']) => text.replaceAll(/\s+/g, ' ').replaceAll('\\|', '|'))
    .flatMap((line) => commandsOf(line).map((words) => ({ line, words, isInline: true, isShell: false })))
  return [...blocks, ...inline]
}

/** Of a block: continued lines joined. Where there are prompts, the rest is what commands print. */
function linesOf(text: string): string[] {
  const lines = text
    .replaceAll(/\\\n\s*/g, ' ')
    .replaceAll(/\|\n\s*/g, '| ')
    .split('\n')
  const typed = lines.filter((line) => line.startsWith('$ ')).map((line) => line.slice(2))
  return typed.length > 0 ? typed : lines.filter((line) => !isDrawn(line))
}

function isDrawn(line: string): boolean {
  return /\S {3,}[^\s#]/.test(line)
}

const TOKEN = /'[^']*'|"[^"]*"|&&|\|\||;|\|(?=\s)|[^\s'";]+/g
const BETWEEN = new Set(['&&', '||', ';', '|'])

/** Simple commands of a line, as words. `sudo`, `ssh HOST`, variables, redirections and comments are left out. */
function commandsOf(line: string): string[][] {
  const commands: string[][] = [[]]
  for (const [token] of line.replace(/(^|\s)#.*$/, '').matchAll(TOKEN)) {
    if (BETWEEN.has(token)) commands.push([])
    else commands.at(-1)!.push(token)
  }
  return commands.map(bare).filter((words) => words.length > 0)
}

function bare(words: string[]): string[] {
  const redirected = words.findIndex((word) => /^[<>]/.test(word))
  const rest = redirected < 0 ? words : words.slice(0, redirected)
  const [first = ''] = rest
  if (/^[A-Za-z_]+=/.test(first)) return bare(rest.slice(1))
  if (first === 'sudo') return bare(rest.slice(1))
  if (first === 'ssh') return bare(rest.slice(2))
  return rest
}

/** Words that stand for one of several commands, with one of them. */
const PLACEHOLDERS: Record<string, string> = { RUNTIME: 'docker' }

/** @returns why no program of this checkout understands it; undefined for what is another program's */
export async function mistakeIn({ words, isInline }: WrittenCommand): Promise<string | undefined> {
  const [program = '', ...rest] = words
  if (program === 'shoal') return shoalMistake(rest, isInline)
  if (program === 'npm') return npmMistake(rest, isInline)
  if (program === 'docker') {
    const image = rest.findIndex((word) => /^localhost\/shoal:/.test(word))
    if (image >= 0 && rest[0] === 'run' && rest.length > image + 1)
      return shoalMistake(rest.slice(image + 1), isInline)
    if (rest[0] === 'exec' && rest[2] === 'shoal') return shoalMistake(rest.slice(3), isInline)
  }
  return undefined
}

async function shoalMistake(words: string[], isInline: boolean): Promise<string | undefined> {
  const alternatives = words.findIndex((word) => /^[a-z-]+(\|[a-z-]+)+$/.test(word))
  if (alternatives >= 0) {
    const each = words[alternatives]!.split('|').map((word) => words.with(alternatives, word))
    const found = await Promise.all(each.map((one) => shoalMistake(one, true)))
    return found.find((mistake) => mistake !== undefined)
  }
  // `…` stands for what the reader puts there.
  const isOpen = words.includes('…')
  try {
    const found = findEntry(
      TREE,
      words.filter((word) => word !== '…').map((word) => PLACEHOLDERS[word] ?? word),
    )
    if (found.oldName !== undefined) return `an old name: ${found.oldName}`
    if (found.isHelpWanted) return undefined
    if (isGroup(found.entry)) return isInline ? undefined : 'not a command, but a group'
    return await argumentMistake(found, found.rest, isInline || isOpen)
  } catch (error) {
    return String(error)
  }
}

async function argumentMistake(
  placed: Placed,
  args: string[],
  mayLack: boolean,
): Promise<string | undefined> {
  const { entry, path } = placed
  const [program, command] = await Promise.all([entry.program?.(), entry.command?.()])
  const ofProgram = program === undefined ? [] : settings(entry.name, program.schema)
  const options = Object.fromEntries([
    ...ofProgram.map(({ flag, kind }) => [
      flag.slice(2),
      { type: kind === 'boolean' ? 'boolean' : 'string' },
    ]),
    ...Object.entries(command?.flags ?? {}).map(([name, { type }]) => [name, { type, multiple: true }]),
  ]) as Record<string, { type: 'string' | 'boolean' }>
  // What a guard passes on is the node's.
  const passed = path.join(' ') === 'shoal guard run' ? args.indexOf('--') : -1
  const own = passed < 0 ? args : args.slice(0, passed)
  // A flag that is only named, in a sentence, has no value.
  const isNamed = mayLack && options[own.at(-1)?.replace(/^--/, '') ?? '']?.type === 'string'
  const { positionals } = parseArgs({
    args: isNamed ? [...own, '…'] : own,
    options,
    allowPositionals: true,
  })
  if (passed >= 0) return shoalMistake(['node', ...args.slice(passed + 1)], mayLack)
  const wanted = command?.positionals ?? []
  const isOpenEnded = wanted.at(-1)?.endsWith('…') ?? false
  if (!isOpenEnded && positionals.length > wanted.length)
    return `too many arguments: ${positionals.join(' ')}`
  const needed = wanted.filter((name) => !name.startsWith('['))
  return !mayLack && positionals.length < needed.length ? `lacks <${wanted[positionals.length]}>` : undefined
}

const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }

async function npmMistake(words: string[], isInline: boolean): Promise<string | undefined> {
  const split = words.indexOf('--')
  const args = split < 0 ? [] : words.slice(split + 1)
  const [verb = '', ...names] = (split < 0 ? words : words.slice(0, split)).filter(
    (word) => !word.startsWith('-'),
  )
  if (verb === 'ci' || (verb === '' && isInline)) return undefined
  const name = verb === 'run' ? (names[0] ?? '') : verb
  if (!Object.hasOwn(scripts, name) || (verb !== 'run' && verb !== 'start' && verb !== 'test'))
    return `npm has no ${[verb, ...names].join(' ')}`
  if (name === 'shoal') return split < 0 ? undefined : shoalMistake(args, isInline || args.length === 0)
  if (name === 'start') return shoalMistake(['up', ...args], isInline)
  const main = /(\S+)\/\S+\.ts$/.exec(scripts[name]!)?.[1]
  const flags = args.filter((word) => word.startsWith('--')).map((word) => word.split('=')[0]!.slice(2))
  const sources = repositoryFiles().filter((path) => isSource(path) && path.startsWith(`${main}/`))
  const unknown = flags.filter((flag) => {
    const isRead = new RegExp(`--${flag}\\b|'${flag}'|\\b${flag}:`)
    return !sources.some((path) => isRead.test(textOf(path)))
  })
  return unknown.length > 0 ? `npm run ${name} knows no --${unknown.join(', --')}` : undefined
}
