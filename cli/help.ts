import type { Command } from '../core/command.ts'
import { settings } from '../core/config.ts'
import { type ConfigSchema, environmentPrefix } from '../core/config-keys.ts'
import { isGroup, oldNamesIn, type Placed } from './command-tree.ts'
import { usageLine } from './run-command.ts'
import { TREE } from './tree.ts'

/** `--help`, at every place of the tree. */

const WIDTH = 100
const FLAG_INDENT = 6
const EXIT_CODES =
  'Exit codes: 0 done, 1 something failed, 2 the command line or a setting is wrong. An error is one line on standard error, and a hint.'

/** Imports what stands behind the entry, for its flags. */
export async function helpText({ entry, path }: Placed): Promise<string> {
  const [program, command] = await Promise.all([entry.program?.(), entry.command?.()])
  const sections = [
    wrapped(entry.summary),
    usage({ entry, path }, command),
    examples(entry.examples),
    childrenList({ entry, path }),
    program && settingsList(entry.name, program.schema),
    command && flagList(command),
    oldNamesList(path),
    wrapped(command?.exitCodes === undefined ? EXIT_CODES : `${EXIT_CODES} ${command.exitCodes}`),
  ]
  return `${sections.filter((section) => section).join('\n\n')}\n`
}

function usage({ entry, path }: Placed, command: Command | undefined): string {
  const name = path.join(' ')
  if (command !== undefined) return usageLine(path, command)
  const below = `${name} <command> [flags]`
  if (isGroup(entry)) return `Usage: ${below}`
  return entry.children === undefined ? `Usage: ${name} [flags]` : `Usage: ${name} [flags]\n       ${below}`
}

function examples(all: { line: string; does: string }[]): string {
  return `Examples:\n${all.map(({ line, does }) => `  ${line}\n${wrapped(does, FLAG_INDENT)}`).join('\n')}`
}

function childrenList({ entry, path }: Placed): string | undefined {
  const { children } = entry
  if (children === undefined) return undefined
  const nameWidth = Math.max(...children.map(({ name }) => name.length)) + 4
  const lines = children.map(({ name, summary }) => {
    const text = wrapped(summary, nameWidth)
    return `  ${name}`.padEnd(nameWidth) + text.slice(nameWidth)
  })
  return `Commands:\n${lines.join('\n')}\n\n${path.join(' ')} <command> --help has the details.`
}

/** The flags of a program, from the descriptions and defaults of its schema. */
export function settingsList(program: string, schema: ConfigSchema): string {
  const entries = settings(program, schema).map((key) => {
    const value = key.kind === 'boolean' ? '' : ` <${key.choices?.join('|') ?? key.kind}>`
    const note = key.isRequired
      ? ' Required.'
      : key.defaultText === undefined
        ? ''
        : ` Default: ${key.defaultText}${key.defaultSize === undefined ? '' : ` (${key.defaultSize})`}`
    return `  ${key.flag}${value}\n${wrapped(`${key.description}${note}`, FLAG_INDENT)}`
  })
  const names = `Every flag is also an environment variable (--config-file: ${environmentPrefix(program)}CONFIG_FILE) and a key of the JSON config file (logLevel for --log-level). Flags win over the environment, the environment over the file.`
  return `Flags:\n${entries.join('\n')}\n\n${wrapped(names)}`
}

function flagList({ flags }: Command): string | undefined {
  const entries = Object.entries(flags).map(([name, flag]) => {
    const value = flag.type === 'boolean' ? '' : ` <${flag.value ?? 'text'}>`
    const fallback = flag.default === undefined ? '' : ` Default: ${flag.default}`
    return `  --${name}${value}\n${wrapped(`${flag.description}${fallback}`, FLAG_INDENT)}`
  })
  return entries.length === 0 ? undefined : `Flags:\n${entries.join('\n')}`
}

/** What was once found under this name, and where it is now. */
function oldNamesList(path: string[]): string | undefined {
  const inside = oldNamesIn(TREE).filter(({ oldName }) => `shoal ${oldName}`.startsWith(`${path.join(' ')} `))
  if (inside.length === 0 || path.length === 1) return undefined
  const lines = inside.map((one) => `  shoal ${one.oldName} is now ${one.path.join(' ')}`)
  return `Old names, which still work:\n${lines.join('\n')}`
}

function wrapped(text: string, indent = 0): string {
  const lines: string[] = ['']
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1)!
    const longer = last === '' ? word : `${last} ${word}`
    if (indent + longer.length <= WIDTH) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines.map((line) => ' '.repeat(indent) + line).join('\n')
}
