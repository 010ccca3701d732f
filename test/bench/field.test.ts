import { describe, expect, it } from 'vitest'
import { CASES } from '../../bench/field/cases/index.ts'
import { FAULTS } from '../../bench/field/faults/index.ts'
import { barOf } from '../../bench/field/measure-case.ts'
import { fieldUsage, parseFieldOptions } from '../../bench/field/options.ts'
import { COLUMNS_MAX, renderField, reportOf } from '../../bench/field/report.ts'
import { type Bar, type FieldRun, problemOf } from '../../bench/field/verdict.ts'
import { hostOf, kindOf, mannerFor } from '../../lab/field/manners.ts'
import { spanOf } from '../../lab/field/odd-bodies.ts'
import { makeOddImage, referenceTo } from '../../lab/field/odd-image.ts'
import { FAULTS_NOT_YET, NOT_YET } from '../field/not-yet.ts'

const RUN: FieldRun = {
  case: 'late-head',
  variant: 'skopeo',
  directSeconds: 1,
  shoalSeconds: 1.4,
  directOk: true,
  shoalOk: true,
  registryCopies: 1,
  shared: true,
  reason: '',
}
const ALONE: Bar = { slackSeconds: 0.5, factor: 1, copiesMax: undefined }
const SHARED: Bar = { ...ALONE, copiesMax: 1.1 }
/** As the variant of a fault is known only when it is measured. */
const FAULT_NAMES = FAULTS.map(({ name }) => name)
const NAMES = [...CASES, ...FAULTS].map(({ name }) => name)

describe('the verdict', () => {
  it('holds a pull to nothing that fails without Shoal too', () => {
    expect(problemOf({ ...RUN, directOk: false, shoalOk: false }, SHARED)).toBeUndefined()
  })

  it('is that a pull failed, whatever else', () => {
    expect(problemOf({ ...RUN, shoalOk: false, registryCopies: 0 }, SHARED)).toBe('failed')
  })

  it('gives half a second where nothing can be shared', () => {
    expect(problemOf({ ...RUN, shoalSeconds: 1.5 }, ALONE)).toBeUndefined()
    expect(problemOf({ ...RUN, shoalSeconds: 1.51 }, ALONE)).toBe('slow')
    expect(problemOf({ ...RUN, shoalSeconds: 1.9 }, { ...ALONE, factor: 1.5 })).toBeUndefined()
  })

  it('wants one copy where two hosts can share', () => {
    expect(problemOf({ ...RUN, registryCopies: 1.1 }, SHARED)).toBeUndefined()
    expect(problemOf({ ...RUN, registryCopies: 1.2 }, SHARED)).toBe('not shared')
  })
})

describe('the cases', () => {
  it('have names of their own', () => {
    expect(new Set(NAMES).size).toBe(NAMES.length)
    for (const { variants } of CASES)
      expect(new Set(variants.map(({ name }) => name)).size).toBe(variants.length)
  })

  it('have registries and repositories of their own, so that one lab can hold all', () => {
    const hosts = CASES.flatMap(({ registries }) => registries.map(({ name }) => name))
    expect(new Set(hosts).size).toBe(hosts.length)
    const repositories = CASES.flatMap(({ variants }) => variants.map(({ image }) => image.repository))
    expect(new Set(repositories).size).toBe(repositories.length)
  })

  it('name registries that they bring', () => {
    for (const { registries, variants } of CASES) {
      const names = registries.map(({ name }) => name)
      for (const { registry } of variants) expect(names).toContain(registry.name)
    }
  })

  it('are what the list of what is not mended yet is about', () => {
    const keys = CASES.flatMap(({ name, variants }) => variants.map((variant) => `${name}/${variant.name}`))
    expect(Object.keys(NOT_YET).filter((key) => !keys.includes(key))).toEqual([])
    const faults = Object.keys(FAULTS_NOT_YET).map((key) => key.slice(0, key.indexOf('/')))
    expect(faults.filter((name) => !FAULT_NAMES.includes(name))).toEqual([])
  })

  it('hold two hosts to one copy only where they can share', () => {
    const variants = CASES.flatMap((one) => one.variants)
    const held = variants.filter((variant) => !variant.ranges && barOf(variant).copiesMax !== undefined)
    expect(held.every(({ canShare, hosts }) => canShare && hosts === 2)).toBe(true)
    expect(held.length).toBeGreaterThan(20)
  })
})

describe('a manner', () => {
  const manners = [
    { on: { of: 'blobs' as const }, waitMs: 5 },
    { on: { of: 'layers' as const, method: 'HEAD' as const }, status: 404 },
    { on: { of: 'blobs' as const, isRanged: true }, range: 'ignored' as const },
  ]
  const asked = { method: 'GET', kind: 'layer' as const, isRanged: false }

  it('joins all that fit the request', () => {
    expect(mannerFor(manners, asked)).toMatchObject({ waitMs: 5 })
    expect(mannerFor(manners, { ...asked, method: 'HEAD' })).toMatchObject({ waitMs: 5, status: 404 })
    expect(mannerFor(manners, { ...asked, kind: 'config', isRanged: true })).toMatchObject({
      range: 'ignored',
    })
    expect(mannerFor(manners, { ...asked, kind: 'manifest' })).toEqual({})
    expect(mannerFor(manners, { ...asked, kind: 'config', method: 'HEAD' })).not.toHaveProperty('status')
  })

  it('answers ranges as RFC 9110 has them, or as it was told', () => {
    expect(spanOf(undefined, 100, undefined)).toEqual({ from: 0, to: 100, isPart: false })
    expect(spanOf('bytes=10-19', 100, undefined)).toEqual({ from: 10, to: 20, isPart: true })
    expect(spanOf('bytes=-5', 100, undefined)).toEqual({ from: 95, to: 100, isPart: true })
    expect(spanOf('bytes=90-', 100, { bytesMax: 4 })).toEqual({ from: 90, to: 94, isPart: true })
    expect(spanOf('bytes=10-19', 100, 'ignored')).toEqual({ from: 0, to: 100, isPart: false })
    expect(spanOf('bytes=100-', 100, undefined)).toBeUndefined()
  })

  it('belongs to a registry with a name and a kind', () => {
    expect(hostOf({ name: 'a.test', port: 8443 })).toBe('a.test:8443')
    expect(hostOf({ name: 'registry-1.docker.io', imageHost: 'docker.io' })).toBe('docker.io')
    expect(kindOf({ name: 'a.test' })).toBe('none')
    expect(kindOf({ name: 'a.test', authentication: { kind: 'jwt' } })).toBe('token')
    expect(kindOf({ name: 'a.test', authentication: { kind: 'basic' } })).toBe('introspect')
  })
})

describe('an image of an odd registry', () => {
  const image = { repository: 'team/app', layerBytes: [1000, 2000] }

  it('has the same bytes in every process, and others under every tag', () => {
    expect(makeOddImage(image, 'round1').manifestDigest).toBe(makeOddImage(image, 'round1').manifestDigest)
    expect(makeOddImage(image, 'round1').manifestDigest).not.toBe(
      makeOddImage(image, 'round2').manifestDigest,
    )
  })

  it('has the layers that its oddities say', () => {
    const odd = { ...image, flavour: 'artifact' as const, oddities: ['sha512' as const, 'tiny' as const] }
    const { name, layers } = referenceTo(odd, 'round1', 'a.test')
    expect(name).toBe('a.test/team/app:round1')
    expect(layers.map(({ bytes }) => bytes)).toEqual([1000, 2000, 1, 0, 900_000])
    expect(layers.at(-1)!.digest).toMatch(/^sha512:/)
  })
})

describe('the report', () => {
  const held = [
    { run: RUN, bar: SHARED },
    { run: { ...RUN, variant: 'v'.repeat(60), shoalOk: false, reason: 'r'.repeat(200) }, bar: SHARED },
  ]

  it('fits a terminal and counts', () => {
    const lines = renderField(held).split('\n')
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(COLUMNS_MAX)
    expect(lines.at(-1)).toContain('1 of 2')
    expect(lines[2]).toContain('failed')
  })

  it('has one object per line in JSON', () => {
    expect(reportOf(held).runs[0]).toEqual(RUN)
  })
})

describe('the flags', () => {
  it('choose cases and pairs', () => {
    expect(
      parseFieldOptions(['--case', NAMES[0]!, '--case', NAMES[1]!, '--pairs', '7', '--json'], NAMES),
    ).toEqual({
      isJson: true,
      isHelp: false,
      cases: NAMES.slice(0, 2),
      pairs: 7,
    })
    expect(parseFieldOptions([], NAMES)).toMatchObject({ cases: [], pairs: undefined })
  })

  it('refuse what is unknown', () => {
    for (const argv of [['--case', 'nothing'], ['--pairs', '0'], ['--pairs', '1e3'], ['--other']])
      expect(() => parseFieldOptions(argv, NAMES)).toThrowError(expect.objectContaining({ code: 'USAGE' }))
  })

  it('are explained, with all cases', () => {
    for (const name of NAMES) expect(fieldUsage(NAMES)).toContain(name)
    for (const line of fieldUsage(NAMES).split('\n')) expect(line.length).toBeLessThanOrEqual(120)
  })
})
