import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AptRoot } from '../../lab/parts/apt-root.ts'
import type { Architecture } from './architectures.ts'
import packages from './base-packages.json' with { type: 'json' }
import { PackageError } from './errors.ts'
import { type Packed, PROGRAM_MODE, textFile } from './files.ts'
import type { Licensed } from './licences.ts'
import type { Component } from './sbom.ts'

/**
 * What an image needs besides the program: the libraries that Node is linked with, and the authorities of the system.
 * They come from Debian packages, each of a fixed version and with the SHA-256 in base-packages.json.
 */
export interface Base {
  files: Packed[]
  components: Component[]
  licences: Licensed[]
}

const SUITE = 'trixie'
/** By architecture: where libraries are, and the loader that Node names. */
const PLACES = {
  amd64: { folder: 'usr/lib/x86_64-linux-gnu', loader: 'lib64/ld-linux-x86-64.so.2' },
  arm64: { folder: 'usr/lib/aarch64-linux-gnu', loader: 'lib/ld-linux-aarch64.so.1' },
} as const
const LIBRARIES = [
  'libc.so.6',
  'libdl.so.2',
  'libgcc_s.so.1',
  'libm.so.6',
  'libpthread.so.0',
  'libstdc++.so.6',
]
/** Of this one only texts are packed. */
const LICENCE_PACKAGE = 'base-files'
/** Debian's packages name common licences by their place and leave their texts out. */
const COMMON_LICENCE = /\/usr\/share\/common-licenses\/([\w.-]*\w)/g
const AUTHORITIES = 'usr/share/ca-certificates/mozilla'

/**
 * @param cacheFolder where packages are kept for the next build
 * @throws PackageError, LabRequirementError where the packages cannot be had
 */
export async function baseOf(architecture: Architecture, cacheFolder: string): Promise<Base> {
  const wanted = Object.entries(packages[architecture]).map(([name, [version = '', sha256 = '']]) => {
    return { name, version, sha256, path: join(cacheFolder, `${sha256}.deb`) }
  })
  const missing = wanted.filter(({ path }) => !existsSync(path))
  if (missing.length > 0) await fetchInto(cacheFolder, architecture, missing)
  const tree = mkdtempSync(join(tmpdir(), 'shoal-base-'))
  try {
    for (const { path } of wanted) execFileSync('dpkg-deb', ['--extract', path, tree])
    const packed = wanted.filter(({ name }) => name !== LICENCE_PACKAGE)
    const licences = packed.map(({ name, version }) => {
      const texts = [readFileSync(join(tree, 'usr/share/doc', docOf(name), 'copyright'), 'utf8')]
      return { name, version, licence: 'see the text', texts }
    })
    return {
      files: filesIn(tree, architecture),
      components: packed.map((one) => componentOf(one, architecture)),
      licences: [...licences, commonLicences(tree, licences)],
    }
  } finally {
    rmSync(tree, { recursive: true })
  }
}

function filesIn(tree: string, architecture: Architecture): Packed[] {
  const { folder, loader } = PLACES[architecture]
  const library = (path: string, name: string) => {
    return { path, mode: PROGRAM_MODE, bytes: readFileSync(realpathSync(join(tree, folder, name))) }
  }
  const authorities = readdirSync(join(tree, AUTHORITIES)).sort()
  const pem = authorities.map((name) => readFileSync(join(tree, AUTHORITIES, name), 'utf8').trimEnd())
  return [
    ...LIBRARIES.map((name) => library(`${folder}/${name}`, name)),
    library(loader, loader.slice(loader.lastIndexOf('/') + 1)),
    textFile('etc/ssl/certs/ca-certificates.crt', `${pem.join('\n')}\n`),
  ]
}

interface Wanted {
  name: string
  version: string
  sha256: string
  path: string
}

function componentOf({ name, version, sha256 }: Wanted, architecture: Architecture): Component {
  const purl = `pkg:deb/debian/${name.replaceAll('+', '%2B')}@${encodeURIComponent(version)}?arch=${architecture}`
  const hashes = [{ alg: 'SHA-256', content: sha256 }]
  return { type: 'library', 'bom-ref': purl, name, version, purl, hashes }
}

function commonLicences(tree: string, licences: Licensed[]): Licensed {
  const texts = licences.flatMap((one) => one.texts)
  const named = texts.flatMap((text) => [...text.matchAll(COMMON_LICENCE)].map(([, name]) => name!))
  const names = [...new Set(named)].sort()
  return {
    name: 'Common licences',
    version: 'named above',
    licence: names.join(', '),
    texts: names.map((name) => readFileSync(join(tree, 'usr/share/common-licenses', name), 'utf8')),
  }
}

/** Packages of one source share a folder. */
function docOf(name: string): string {
  return name.startsWith('libgcc') || name.startsWith('libstdc') ? 'gcc-14-base' : name
}

async function fetchInto(folder: string, architecture: Architecture, wanted: Wanted[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'shoal-apt-'))
  try {
    const apt = await AptRoot.make(dir, SUITE, architecture)
    await apt.update()
    const archives = await apt.fetch(wanted.map(({ name, version }) => `${name}=${version}`))
    mkdirSync(folder, { recursive: true })
    for (const archive of archives) execFileSync('cp', [archive, join(folder, `${sha256Of(archive)}.deb`)])
    const other = wanted.find(({ path }) => !existsSync(path))
    if (other === undefined) return
    throw new PackageError(`${other.name} ${other.version} is not what base-packages.json says`)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}
