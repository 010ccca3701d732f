import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { shoalVersion } from '../../core/version.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { ARCHITECTURES, type Architecture, CPUS } from './architectures.ts'
import { type Bundle, bundle } from './bundle.ts'
import { debianPackage, debianVersion, units } from './debian.ts'
import { below, gzipped, type Packed, PROGRAM_MODE, tarOf, textFile } from './files.ts'
import { licenceOf, licencesText } from './licences.ts'
import { pinnedNode } from './node-binary.ts'
import { nodeComponent, sbomText } from './sbom.ts'
import { type Lock, ROOT, readLock, sourceTimeS } from './source.ts'

/** `npm run package`: what people install. */

const USAGE = `Usage: npm run package -- [--arch amd64,arm64] [--out dist] [--node-file file]

Builds a Debian package and a tarball for each architecture. Two builds of one commit are the same, byte for byte. The time
in them is that of the commit, or SOURCE_DATE_EPOCH. Only the Node of the other architecture is fetched, once.
--node-file packs this program in the place of the pinned Node.
`

export interface Source {
  version: string
  timeS: number
  lock: Lock
  bundle: Bundle
  nodeInstead?: Buffer
}

async function main(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      arch: { type: 'string', default: ARCHITECTURES.join(',') },
      out: { type: 'string', default: join(ROOT, 'dist') },
      'node-file': { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void process.stdout.write(USAGE)
  const nodeFile = values['node-file']
  const source: Source = {
    version: shoalVersion(),
    timeS: sourceTimeS(process.env),
    lock: readLock(),
    bundle: await bundle(),
    ...(nodeFile === undefined ? {} : { nodeInstead: readFileSync(nodeFile) }),
  }
  const out = resolve(values.out)
  mkdirSync(out, { recursive: true })
  const sums = architecturesIn(values.arch).flatMap((architecture) =>
    [...packagesFor(architecture, source)].map(([name, bytes]) => {
      writeFileSync(join(out, name), bytes)
      process.stdout.write(`${join(out, name)}  ${Math.round(bytes.length / 1024 ** 2)} MiB\n`)
      return `${createHash('sha256').update(bytes).digest('hex')}  ${name}\n`
    }),
  )
  writeFileSync(join(out, 'SHA256SUMS'), sums.join(''))
}

function architecturesIn(text: string): Architecture[] {
  return text.split(',').map((name) => {
    const known = ARCHITECTURES.find((one) => one === name)
    if (known !== undefined) return known
    throw new UsageError(`--arch: ${name.slice(0, 40)} is not one of ${ARCHITECTURES.join(', ')}`)
  })
}

/** By file name. One after the other, so that one at a time is in memory. */
function* packagesFor(architecture: Architecture, source: Source): Generator<[string, Buffer]> {
  const { version, timeS, lock } = source
  const node = pinnedNode(architecture, lock)
  const program: Packed[] = [
    ...source.bundle.files,
    { path: 'bin/node', mode: PROGRAM_MODE, bytes: source.nodeInstead ?? node.binary },
  ]
  const { dependencies } = source.bundle
  const licences = [
    ...dependencies.map((path) => licenceOf(path, lock)),
    { name: 'Node.js', version: node.version, licence: 'MIT and others', texts: [node.licence] },
  ]
  const others = [nodeComponent(node.version, `node-linux-${CPUS[architecture]}`, node.integrity)]
  const papers = [
    textFile('THIRD-PARTY-LICENCES.txt', licencesText(licences)),
    textFile('sbom.cdx.json', sbomText({ version, timeS, lock, dependencies, others })),
  ]
  const deb = { version, architecture, timeS, program, papers }
  yield [`shoal_${debianVersion(version)}_${architecture}.deb`, debianPackage(deb)]
  const folder = `shoal-${version}-linux-${architecture}`
  const files = below(folder, [...program, ...papers, ...below('systemd', units())])
  yield [`${folder}.tar.gz`, gzipped(tarOf(files, { timeS }))]
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = tellFailure('package', error)
})
