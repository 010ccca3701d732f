import { type Entry, placedIn } from './command-tree.ts'
import { ERRORS, type Explanation, explain } from './explanation.ts'

/** Man pages of every place of the tree (man(7)), as `--help` explains them: `shoal.1`, `shoal-tracker-init.1`, … */

export interface ManPage {
  /** `shoal-node.1`. */
  file: string
  text: string
}

export interface ManOptions {
  version: string
  /** Of the page, in seconds of Unix time. */
  timeS: number
}

export async function manPages(root: Entry, options: ManOptions): Promise<ManPage[]> {
  const names = placedIn(root).map(({ path }) => path.join(' '))
  return Promise.all(
    placedIn(root).map(async (placed) => {
      const explained = await explain(root, placed)
      const text = pageOf(explained, neighboursOf(explained.name, names), options)
      return { file: `${pageName(explained.name)}.1`, text }
    }),
  )
}

function pageOf(it: Explanation, neighbours: string[], { version, timeS }: ManOptions): string {
  const day = new Date(timeS * 1000).toISOString().slice(0, 10)
  const title = pageName(it.name)
  return [
    `.TH ${quoted(title.toUpperCase())} 1 ${day} ${quoted(`shoal ${version}`)} "Shoal"\n`,
    // Names and addresses are copied from here: none is broken.
    '.nh\n',
    // Only this section is plain: whatis(1) reads it.
    section('NAME', [`${escaped(title)} \\- ${escaped(firstSentence(it.summary))}`]),
    section(
      'SYNOPSIS',
      it.usages.flatMap((usage, index) => [...(index === 0 ? [] : ['.br']), synopsis(usage)]),
    ),
    section('DESCRIPTION', [prose(it.summary)]),
    section(
      'COMMANDS',
      it.commands.flatMap(({ name, summary }) => item(`\\fB${escaped(name)}\\fR`, summary)),
    ),
    section(
      'OPTIONS',
      it.flags.flatMap(({ flag, value, text }) => {
        const placeholder = value === undefined ? '' : ` \\fI${escaped(value)}\\fR`
        return item(`\\fB${escaped(flag)}\\fR${placeholder}`, text)
      }),
    ),
    section('ENVIRONMENT', it.environment === undefined ? [] : [prose(it.environment)]),
    section('EXIT STATUS', [
      ...it.exits.flatMap(({ code, meaning }) =>
        item(code, `${meaning[0]!.toUpperCase()}${meaning.slice(1)}.`),
      ),
      '.PP',
      prose(ERRORS),
    ]),
    section(
      'EXAMPLES',
      it.examples.flatMap(({ line, does }, index) => [
        ...(index === 0 ? [] : ['.PP']),
        prose(does),
        '.PP',
        '.RS',
        '.nf',
        escaped(line),
        '.fi',
        '.RE',
      ]),
    ),
    section(
      'HISTORY',
      it.oldNames.flatMap(({ oldName, name }) => item(escaped(oldName), `Is now ${name}.`)),
    ),
    section('SEE ALSO', [neighbours.map((name) => `.BR ${escaped(pageName(name))} (1)`).join(' ,\n')]),
  ].join('')
}

/** Its parent and its children. */
function neighboursOf(name: string, names: string[]): string[] {
  const above = name.slice(0, Math.max(0, name.lastIndexOf(' ')))
  const below = names.filter((one) => one.slice(0, Math.max(0, one.lastIndexOf(' '))) === name)
  return [...(above === '' ? [] : [above]), ...below]
}

function section(title: string, lines: string[]): string {
  return lines.length === 0 ? '' : `.SH ${quoted(title)}\n${lines.join('\n')}\n`
}

function item(term: string, text: string): string[] {
  return ['.TP', term, prose(text)]
}

/** The command in bold, what a person puts in in italics. */
function synopsis(usage: string): string {
  const [, command = '', rest = ''] = /^([^<[]*)(.*)$/.exec(usage) ?? []
  const placeholders = escaped(rest)
    .replaceAll(/<([^>]+)>/g, '\\fI$1\\fR')
    .replaceAll('[flags]', '[\\fIflags\\fR]')
  return `\\fB${escaped(command.trim())}\\fR ${placeholders}`
}

/** Text in which `…` in backticks is a command. */
function prose(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, '\\fB$1\\fR')
}

/** Ends before a colon too: what follows it explains. */
function firstSentence(text: string): string {
  return (/^.*?(?=[.:;] |\.$|$)/s.exec(text)?.[0] ?? text).replaceAll('`', '')
}

function pageName(name: string): string {
  return name.replaceAll(' ', '-')
}

function quoted(text: string): string {
  return `"${escaped(text)}"`
}

/** Nothing in it is a request or an escape of roff's, whatever the encoding in which the page is read (groff_char(7)). */
function escaped(text: string): string {
  return text
    .replaceAll(/\s*\n\s*/g, ' ')
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll(/[^\0-\x7f]/gu, (character) => `\\[u${hexOf(character)}]`)
    .replace(/^(?=[.'])/, '\\&')
}

function hexOf(character: string): string {
  return character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')
}
