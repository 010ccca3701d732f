import { createHash } from 'node:crypto'
import { nameOf } from './licences.ts'
import type { Lock } from './source.ts'

/** The software bill of materials (CycloneDX 1.6, JSON): exactly what is in the package, by the lock file. */

export interface SbomParts {
  version: string
  timeS: number
  lock: Lock
  /** Paths in the lock file. */
  dependencies: string[]
  /** What is no dependency in JavaScript: Node, libraries. */
  others: Component[]
}

export interface Component {
  type: 'application' | 'library'
  'bom-ref': string
  name: string
  version: string
  purl: string
  licenses?: ({ license: { id: string } } | { expression: string })[]
  hashes?: { alg: string; content: string }[]
}

export function sbomText({ version, timeS, lock, dependencies, others }: SbomParts): string {
  const shoal = { type: 'application', 'bom-ref': `pkg:generic/shoal@${version}`, name: 'shoal', version }
  const components = [...dependencies.map((path) => componentOf(path, lock)), ...others]
  const direct = dependencies.filter((path) => lock['']!.dependencies?.[nameOf(path)] !== undefined)
  const content = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: new Date(timeS * 1000).toISOString(),
      component: { ...shoal, licenses: licensesOf('Apache-2.0') },
    },
    components,
    dependencies: [
      {
        ref: shoal['bom-ref'],
        dependsOn: [...direct.map((path) => refOf(path, lock)), ...others.map((one) => one['bom-ref'])],
      },
      ...dependencies.map((path) => ({
        ref: refOf(path, lock),
        dependsOn: neededBy(path, lock, dependencies),
      })),
      ...others.map((one) => ({ ref: one['bom-ref'], dependsOn: [] })),
    ],
  }
  const { $schema, bomFormat, specVersion, ...rest } = content
  const serialNumber = uuidOf(JSON.stringify(content))
  return `${JSON.stringify({ $schema, bomFormat, specVersion, serialNumber, ...rest }, null, 2)}\n`
}

export function nodeComponent(version: string, name: string, integrity: string): Component {
  return {
    type: 'application',
    'bom-ref': `pkg:npm/${name}@${version}`,
    name: 'node',
    version,
    purl: `pkg:npm/${name}@${version}`,
    licenses: licensesOf('MIT'),
    hashes: hashesOf(integrity),
  }
}

function componentOf(path: string, lock: Lock): Component {
  const { version, license, integrity } = lock[path]!
  const ref = refOf(path, lock)
  return {
    type: 'library',
    'bom-ref': ref,
    name: nameOf(path),
    version,
    purl: ref,
    ...(license === undefined ? {} : { licenses: licensesOf(license) }),
    hashes: hashesOf(integrity),
  }
}

/** Package URL: the `@` of a scope is escaped. */
function refOf(path: string, lock: Lock): string {
  return `pkg:npm/${nameOf(path).replace('@', '%40')}@${lock[path]!.version}`
}

/** As Node resolves: beside the package that asks, then in each folder above. */
function neededBy(path: string, lock: Lock, dependencies: string[]): string[] {
  const found = Object.keys(lock[path]!.dependencies ?? {}).flatMap((name) => {
    for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
      const place = `${at === '' ? '' : `${at}/`}node_modules/${name}`
      if (dependencies.includes(place)) return refOf(place, lock)
      if (at === '') return []
    }
  })
  return [...new Set(found)].sort()
}

function licensesOf(spdx: string): NonNullable<Component['licenses']> {
  return /^[\w.+-]+$/.test(spdx) ? [{ license: { id: spdx } }] : [{ expression: spdx }]
}

function hashesOf(integrity: string): NonNullable<Component['hashes']> {
  const content = Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex')
  return [{ alg: 'SHA-512', content }]
}

/** The same content has the same number (RFC 9562, version 8). */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`]
  return `urn:uuid:${[...parts, hex.slice(20, 32)].join('-')}`
}
