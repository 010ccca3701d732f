import { globSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const PARTS = {
  cli: 'The command line',
  node: 'What starts a node',
  proxy: 'The proxy',
  guard: 'The guard',
  relay: 'The relay',
  owners: 'What names the programs behind connections',
  client: 'The client: transfers between nodes',
  tracker: 'The tracker',
  core: 'What they share',
  'certs-tool': 'shoal certs and shoal admin',
} as const

const INTRO = `# Limits

Written by \`npm run docs\` from the source: every queue, frame, header, cache and wait has a named bound, and the comment
beside it says what it is for and how it comes about. Units are the last word of a name; \`_MAX\` after it makes it a bound.

What a node holds in memory does not grow with the size of blobs or the number of nodes. The largest shares are
\`PIECE_BUFFERS_BYTES_MAX\` (pieces under way), \`SEND_BUFFERS_MAX\` blocks (uploads), and \`ACCEPTED_MAX\` connections of
about 48 KiB each, on top of about 110 MiB that Node and the program itself take.
`

/** A named bound: a constant at the top of a file. */
interface Limit {
  name: string
  value: string
  path: string
  /** The first sentence says what it bounds; one without a comment shares that of the line above when it begins with `Bounds`. */
  comment: string
}

const CONSTANT =
  /^(?:export )?const (?!(?:DAY|HOUR)_SECONDS)([A-Z][A-Z0-9_]*(?:_MAX|_MIN|_MS|_SECONDS))(?:: [^=]+)? = ([^;]+)$/
const COMMENT_END = /\*\/\s*$/

/** The text of docs/limits.md. */
export function limitsPage(): string {
  const sections = Object.entries(PARTS).map(([part, title]) => {
    const rows = limitsOf(part).map(
      ({ name, value, path, comment }) => `| \`${name}\` | ${value} | ${comment} | \`${path}\` |`,
    )
    return `## ${title}\n\n| bound | value | what for | file |\n|---|---|---|---|\n${rows.join('\n')}\n`
  })
  return [INTRO, ...sections].join('\n')
}

function limitsOf(part: string): Limit[] {
  const paths = globSync(`${part}/**/*.ts`, { cwd: ROOT }).sort()
  return paths.flatMap((path) => limitsIn(path, readFileSync(`${ROOT}/${path}`, 'utf8').split('\n')))
}

function limitsIn(path: string, lines: string[]): Limit[] {
  let shared = ''
  return lines.flatMap((line, index) => {
    const [, name, value] = CONSTANT.exec(line) ?? []
    if (name === undefined || value === undefined) {
      if (!/^(\s*\/?\*|\s*\/\/|(export )?const )/.test(line)) shared = ''
      return []
    }
    if (COMMENT_END.test(lines[index - 1] ?? '')) shared = commentAbove(lines, index)
    else if (!shared.startsWith('Bounds')) shared = ''
    return [{ name, value: escaped(value), path, comment: escaped(shared) }]
  })
}

/** The text of the doc comment that ends on the line before `index`. */
function commentAbove(lines: string[], index: number): string {
  let start = index - 1
  while (start > 0 && !/^\s*\/\*\*/.test(lines[start] ?? '')) start -= 1
  return lines
    .slice(start, index)
    .map((line) =>
      line
        .replace(/^\s*(\/\*\*|\*\/|\*)?/, '')
        .replace(/\*\/\s*$/, '')
        .trim(),
    )
    .join(' ')
    .trim()
}

function escaped(text: string): string {
  return text.trim().replaceAll('|', '\\|')
}
