import { createHash } from 'node:crypto'
import { constants, zstdCompressSync } from 'node:zlib'
import type { Architecture } from './architectures.ts'
import { below, type Packed, type PackedFile, PROGRAM_MODE, tarOf, textFile } from './files.ts'
import { sourceText } from './source.ts'

/**
 * A Debian package (deb(5)): an archive of two archives. It is written here, as dpkg-deb would: so its bytes depend on
 * nothing that is installed on the machine that builds.
 */

const SCRIPTS = ['postinst', 'prerm', 'postrm'] as const
const UNITS = [
  'shoal-guard.service',
  'shoal-proxy.socket',
  'shoal-mirror.socket',
  'shoal-owners.socket',
  'shoal-owners.service',
  'shoal.service',
  'shoal-tracker.service',
] as const
const UNIT_FOLDER = 'usr/lib/systemd/system'
export const DOC_FOLDER = 'usr/share/doc/shoal'
export const PROGRAM_FOLDER = 'usr/lib/shoal'
const KIBIBYTE = 1024
const ZSTD_LEVEL = 12

export interface DebianParts {
  version: string
  architecture: Architecture
  timeS: number
  /** The program's own folder. */
  program: Packed[]
  /** What belongs to its documentation. */
  papers: Packed[]
  /** Man pages and completions, below `usr/share`. */
  manuals: Packed[]
}

export function units(): PackedFile[] {
  return UNITS.map((name) => textFile(name, sourceText(`deploy/systemd/${name}`)))
}

/** Pre-releases come before the release: `1.0.0~rc.1`. */
export function debianVersion(version: string): string {
  return version.replace('-', '~')
}

export function debianPackage(parts: DebianParts): Buffer {
  const { timeS } = parts
  const data = dataOf(parts)
  const control = [
    textFile('control', controlText(parts, data)),
    textFile('md5sums', sumsOf(data)),
    ...SCRIPTS.map((name) => textFile(name, sourceText(`deploy/debian/${name}`), PROGRAM_MODE)),
  ]
  return archiveOf(
    [
      { name: 'debian-binary', bytes: Buffer.from('2.0\n') },
      { name: 'control.tar.zst', bytes: compressed(tarOf(control, { prefix: './', timeS })) },
      { name: 'data.tar.zst', bytes: compressed(tarOf(data, { prefix: './', timeS })) },
    ],
    timeS,
  )
}

function dataOf({ program, papers, manuals }: DebianParts): Packed[] {
  return [
    ...below(PROGRAM_FOLDER, program),
    { path: 'usr/bin/shoal', target: '../lib/shoal/bin/shoal' },
    ...below(UNIT_FOLDER, units()),
    ...['sysusers', 'tmpfiles'].map((name) =>
      textFile(`usr/lib/${name}.d/shoal.conf`, sourceText(`deploy/debian/shoal.${name}`)),
    ),
    ...below('usr/share', manuals),
    ...below(DOC_FOLDER, [
      ...papers,
      ...['copyright', 'README.Debian'].map((name) => textFile(name, sourceText(`deploy/debian/${name}`))),
    ]),
  ]
}

function controlText({ version, architecture }: DebianParts, data: Packed[]): string {
  const bytes = data.reduce((sum, file) => sum + ('bytes' in file ? file.bytes.length : 0), 0)
  return sourceText('deploy/debian/control')
    .replace('@VERSION@', debianVersion(version))
    .replace('@ARCHITECTURE@', architecture)
    .replace('@KIBIBYTES@', String(Math.ceil(bytes / KIBIBYTE)))
}

/** For `dpkg --verify`. */
function sumsOf(data: Packed[]): string {
  const files = data.filter((file) => 'bytes' in file)
  return files
    .map(({ path, bytes }) => `${createHash('md5').update(bytes).digest('hex')}  ${path}\n`)
    .join('')
}

/** On this thread: more of them would change the bytes. */
function compressed(bytes: Buffer): Buffer {
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } })
}

/** The common format of ar(5). */
function archiveOf(members: { name: string; bytes: Buffer }[], timeS: number): Buffer {
  const parts = members.flatMap(({ name, bytes }) => {
    const fields = [
      name.padEnd(16),
      String(timeS).padEnd(12),
      '0'.padEnd(6),
      '0'.padEnd(6),
      '100644'.padEnd(8),
    ]
    const header = `${fields.join('')}${String(bytes.length).padEnd(10)}\`\n`
    return [Buffer.from(header), bytes, Buffer.from(bytes.length % 2 === 1 ? '\n' : '')]
  })
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts])
}
