import { UsageError } from '../../core/errors.ts'
import { tellFailure } from '../machine/program-failure.ts'
import { fetchParts, partsFolder } from './parts.ts'
import { SUITES, type Suite } from './suites.ts'

/** `npm run parts`: fetches newer runtimes from Debian for the tests and benchmarks that try them. */

const NAMES = Object.keys(SUITES) as Suite[]
const USAGE = `Usage: npm run parts -- [trixie] [sid]

Fetches Docker, containerd, Podman and others of newer Debian releases; without a name, those of both. They are unpacked
into a cache folder and never installed. About 240 MB are downloaded for each, and 1 GB is kept.

The folder is ${partsFolder()}; SHOAL_PARTS names another. It may be deleted at any time.
`

async function main(argv: string[]): Promise<void> {
  if (argv.includes('--help')) return void process.stdout.write(USAGE)
  const unknown = argv.find((name) => !NAMES.includes(name as Suite))
  if (unknown !== undefined) {
    throw new UsageError(`unknown suite: ${unknown.slice(0, 40)}`, {
      hint: 'npm run parts -- --help lists them.',
    })
  }
  for (const suite of argv.length === 0 ? NAMES : (argv as Suite[])) {
    const parts = await fetchParts(suite, (line) => void process.stdout.write(`${line}\n`))
    const versions = Object.keys(SUITES[suite].pinned).map(
      (name) => `${name} ${parts.versionOf(name) ?? '—'}`,
    )
    process.stdout.write(`${suite}: ${versions.join(', ')}\n`)
  }
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = tellFailure('parts', error)
})
