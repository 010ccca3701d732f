import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { shoalVersion } from '../../core/version.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { ARCHITECTURES, type Architecture, CPUS } from './architectures.ts'
import { type Base, baseOf } from './base.ts'
import { type Bundle, bundle } from './bundle.ts'
import { DOC_FOLDER, debianPackage, debianVersion, PROGRAM_FOLDER, units } from './debian.ts'
import { below, gzipped, type Packed, PROGRAM_MODE, tarOf, textFile } from './files.ts'
import { licenceOf, licencesText } from './licences.ts'
import { manuals } from './manuals.ts'
import { type PinnedNode, pinnedNode } from './node-binary.ts'
import { ociImage } from './oci.ts'
import { nodeComponent, sbomText } from './sbom.ts'
import { type Lock, ROOT, readLock, sourceTimeS } from './source.ts'

/** `npm run package`: what people install. */

const USAGE = `Usage: npm run package -- [--arch amd64,arm64] [--out dist] [--no-image | --deb-only] [--node-file file]

Builds a Debian package, a tarball and an OCI image for each architecture. Two builds of one commit are the same, byte for
byte. The time in them is that of the commit, or SOURCE_DATE_EPOCH. The first build fetches the Node of the other architecture, and
the libraries of the image from Debian. --no-image builds no image, --deb-only nothing but the Debian package. --node-file packs this program
instead of the pinned Node.
`

export interface Source {
  version: string
  timeS: number
  lock: Lock
  bundle: Bundle
  manuals: Packed[]
  isWithoutImage: boolean
  isDebOnly: boolean
  nodeInstead?: Buffer
}

async function main(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      arch: { type: 'string', default: ARCHITECTURES.join(',') },
      out: { type: 'string', default: join(ROOT, 'dist') },
      'node-file': { type: 'string' },
      'no-image': { type: 'boolean', default: false },
      'deb-only': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void process.stdout.write(USAGE)
  const nodeFile = values['node-file']
  const common = { version: shoalVersion(), timeS: sourceTimeS(process.env) }
  const source: Source = {
    ...common,
    lock: readLock(),
    bundle: await bundle(),
    manuals: await manuals(common),
    isWithoutImage: values['no-image'],
    isDebOnly: values['deb-only'],
    ...(nodeFile === undefined ? {} : { nodeInstead: readFileSync(nodeFile) }),
  }
  const out = resolve(values.out)
  mkdirSync(out, { recursive: true })
  const sums: string[] = []
  for (const architecture of architecturesIn(values.arch)) {
    for await (const [name, bytes] of packagesFor(architecture, source)) {
      writeFileSync(join(out, name), bytes)
      process.stdout.write(`${join(out, name)}  ${Math.round(bytes.length / 1024 ** 2)} MiB\n`)
      sums.push(`${createHash('sha256').update(bytes).digest('hex')}  ${name}\n`)
    }
  }
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
async function* packagesFor(architecture: Architecture, source: Source): AsyncGenerator<[string, Buffer]> {
  const { version, timeS } = source
  const node = pinnedNode(architecture, source.lock)
  const binary = source.nodeInstead ?? node.binary
  const program = [...source.bundle.files, { path: 'bin/node', mode: PROGRAM_MODE, bytes: binary }]
  const papers = papersOf(source, architecture, node)
  const common = { version, architecture, timeS }
  yield [
    `shoal_${debianVersion(version)}_${architecture}.deb`,
    debianPackage({ ...common, program, papers, manuals: source.manuals }),
  ]
  if (source.isDebOnly) return
  const name = `shoal-${version}-linux-${architecture}`
  const shared = below('share', source.manuals)
  const files = below(name, [...program, ...papers, ...shared, ...below('systemd', units())])
  yield [`${name}.tar.gz`, gzipped(tarOf(files, { timeS }))]
  if (source.isWithoutImage) return
  const base = await baseOf(architecture, baseFolder(process.env))
  const root = [
    ...base.files,
    ...below(PROGRAM_FOLDER, program),
    ...below(DOC_FOLDER, papersOf(source, architecture, node, base)),
  ]
  yield [`${name}.oci.tar`, ociImage({ ...common, root })]
}

/** In the user's cache. */
function baseFolder(env: NodeJS.ProcessEnv): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shoal', 'base')
}

/** Licences and bill of materials of what is packed. */
function papersOf(
  { version, timeS, lock, bundle: { dependencies } }: Source,
  architecture: Architecture,
  node: PinnedNode,
  base?: Base,
): Packed[] {
  const licences = [
    ...dependencies.map((path) => licenceOf(path, lock)),
    { name: 'Node.js', version: node.version, licence: 'MIT and others', texts: [node.licence] },
    ...(base?.licences ?? []),
  ]
  const others = [
    nodeComponent(node.version, `node-linux-${CPUS[architecture]}`, node.integrity),
    ...(base?.components ?? []),
  ]
  return [
    textFile('THIRD-PARTY-LICENCES.txt', licencesText(licences)),
    textFile('sbom.cdx.json', sbomText({ version, timeS, lock, dependencies, others })),
  ]
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = tellFailure('package', error)
})
