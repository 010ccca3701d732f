import type { Placed } from './command-tree.ts'
import { ERRORS, type ExplainedFlag, type Explanation, explain } from './explanation.ts'
import { filledLines, type Look, PLAIN, painted } from './table.ts'
import { TREE } from './tree.ts'

/** `--help`, at every place of the tree. */

const INDENT = 2
const FLAG_INDENT = 6

/** Imports what stands behind the entry, for its flags. */
export async function helpText(placed: Placed, look: Look = PLAIN): Promise<string> {
  const it = await explain(TREE, placed)
  const page = new HelpPage(look)
  const sections = [
    page.wrapped(it.summary),
    page.usage(it),
    page.section(
      'Examples',
      it.examples.map(({ line, does }) => `  ${line}\n${page.wrapped(does, FLAG_INDENT)}`),
    ),
    page.section('Commands', page.columns(it.commands.map(({ name, summary }) => [name, summary]))),
    it.commands.length === 0 ? '' : `${it.name} <command> --help has the details.`,
    page.flags(it.flags),
    page.wrapped(it.environment ?? ''),
    page.section(
      'Old names, which still work',
      it.oldNames.map(({ oldName, name }) => `  ${oldName} is now ${name}`),
    ),
    page.section('Exit codes', page.columns(it.exits.map(({ code, meaning }) => [code, meaning]))),
    page.wrapped(ERRORS),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

export class HelpPage {
  readonly #look: Look

  constructor(look: Look) {
    this.#look = look
  }

  usage({ usages }: Explanation): string {
    const lines = usages.map((line, index) => (index === 0 ? line : `       ${line}`))
    return `${painted('Usage:', 'bold', this.#look)} ${lines.join('\n')}`
  }

  section(title: string, lines: string[]): string {
    return lines.length === 0 ? '' : `${painted(`${title}:`, 'bold', this.#look)}\n${lines.join('\n')}`
  }

  flags(flags: ExplainedFlag[]): string {
    const lines = flags.map(({ flag, value, text }) => {
      const placeholder = value === undefined ? '' : ` <${value}>`
      return `  ${flag}${placeholder}\n${this.wrapped(text, FLAG_INDENT)}`
    })
    return this.section('Flags', lines)
  }

  /** Names, each with its text beside it. */
  columns(rows: [name: string, text: string][]): string[] {
    const width = INDENT + Math.max(0, ...rows.map(([name]) => name.length)) + 2
    return rows.map(([name, text]) => `  ${name}`.padEnd(width) + this.wrapped(text, width).slice(width))
  }

  wrapped(text: string, indent = 0): string {
    const lines = filledLines(text.trim().split(/\s+/), this.#look.columns - indent)
    return lines.map((line) => (line === '' ? '' : ' '.repeat(indent) + line)).join('\n')
  }
}
