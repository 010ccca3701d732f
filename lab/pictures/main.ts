import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { OWN_PROGRAM } from '../loopback/cluster.ts'
import { LabProcesses } from '../machine/processes.ts'
import { tellFailure } from '../machine/program-failure.ts'
import { requireParts } from '../machine/requirements.ts'
import { screenOf } from './screen.ts'
import { openPictureSite, type PictureSite } from './site.ts'
import { PALETTES, type PaletteName, svgOf } from './svg.ts'
import { onTerminal } from './terminal.ts'

/** `npm run pictures`: draws what the commands show on a terminal, from a small site on loopback that it starts. */

const USAGE = `Usage: npm run pictures -- [flags]

Starts a registry, a tracker and two nodes on loopback, runs commands on terminals of 80 and 120 columns, and draws what they
show, in light and dark. Needs Node and script(1); --png needs rsvg-convert (Debian's librsvg2-bin).

  --docs           Writes the pictures of the pages to docs/pictures (SVG, light or dark as the reader's browser is).
  --png <folder>   Writes every picture there, to be looked at.
  --help           Prints this text.
`
const DOCS = fileURLToPath(new URL('../../docs/pictures', import.meta.url))
const WIDTHS = [80, 120]
/** Of the pictures in pages. */
const DOCS_COLUMNS = 80
const CONVERT_MS = 20_000

interface Page {
  name: string
  /** As a person types it. */
  command: (site: PictureSite) => string
  before?: (site: PictureSite) => Promise<void>
  isInDocs?: true
}

/** In this order: the last one is of a pull that runs. */
const PAGES: Page[] = [
  { name: 'help', command: () => 'shoal --help' },
  { name: 'help-status', command: () => 'shoal status --help' },
  { name: 'doctor', command: () => 'shoal doctor', isInDocs: true },
  { name: 'explain', command: ({ image }) => `shoal explain ${image}`, isInDocs: true },
  { name: 'cache', command: () => 'shoal cache ls --blobs' },
  {
    name: 'status',
    command: () => 'shoal status',
    before: (site) => site.beginSlowPull(),
    isInDocs: true,
  },
]

async function main(argv: string[]): Promise<void> {
  const { values } = parsed(argv)
  if (values.help) return void process.stdout.write(USAGE)
  const { docs = false, png } = values
  if (!docs && png === undefined)
    throw new UsageError('nothing says where to draw', { hint: 'Give --docs or --png.' })
  requireParts(['linux', 'script', ...(png === undefined ? [] : (['rsvg-convert'] as const))])
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const { NO_COLOR: _, FORCE_COLOR: __, ...own } = process.env
  const site = await openPictureSite(say)
  try {
    for (const page of PAGES) {
      await page.before?.(site)
      const command = page.command(site)
      for (const columns of WIDTHS) {
        const argv = [process.execPath, OWN_PROGRAM, ...command.split(' ').slice(1)]
        const lines = screenOf(await onTerminal({ argv, columns, env: { ...own, ...site.env } }))
        if (docs && page.isInDocs && columns === DOCS_COLUMNS) {
          mkdirSync(DOCS, { recursive: true })
          writeFileSync(join(DOCS, `${page.name}.svg`), svgOf(lines, { columns, command }))
        }
        if (png === undefined) continue
        for (const palette of Object.keys(PALETTES) as PaletteName[]) {
          const name = `${page.name}-${columns}-${palette}`
          await convert(resolve(png), name, svgOf(lines, { columns, command, palette }))
        }
      }
      say(`drew ${page.name}`)
    }
  } finally {
    await site.close()
  }
}

function parsed(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      options: { docs: { type: 'boolean' }, png: { type: 'string' }, help: { type: 'boolean' } },
    })
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause, hint: 'See --help.' })
  }
}

async function convert(folder: string, name: string, svg: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  await new LabProcesses(folder).run({
    argv: ['rsvg-convert', '--output', join(folder, `${name}.png`)],
    input: svg,
    timeoutMs: CONVERT_MS,
  })
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = tellFailure('pictures', error)
})
