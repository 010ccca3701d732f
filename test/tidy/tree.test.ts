import { describe, expect, it } from 'vitest'
import { CONDITIONS, type ConditionText } from '../../core/condition-texts.ts'
import { DOCTOR_FINDINGS } from '../../core/doctor-texts.ts'
import { isSource, partOf, repositoryFiles, textOf } from './source-files.ts'

const files = repositoryFiles()
const sources = files.filter(isSource)
const texts = files.filter((path) =>
  /\.(ts|js|json|md|sh|yml|yaml|svg|service|conf)$|^\.ci\/|^\.npmrc$/.test(path),
)
const THIS = 'test/tidy/tree.test.ts'
const LINES_MAX = 350
/** Each is one thing whose parts need each other's state; what could stand alone has a file of its own. */
const LONGER = ['client/engine/download.ts', 'client/swarm/swarm.ts']

describe('the tree', () => {
  it('has no folder for whatever has no place', () => {
    expect(files.filter((path) => /(^|\/)(utils?|helpers?|common|misc|shared)(\/|\.ts$)/.test(path))).toEqual(
      [],
    )
  })

  it('names its files in kebab case', () => {
    expect(sources.filter((path) => !/^[a-z0-9.\-/]+$/.test(path))).toEqual([])
  })

  it('keeps files short, but for those that are named here', () => {
    const long = sources
      .filter((path) => partOf(path) !== 'test' && textOf(path).split('\n').length > LINES_MAX)
      .sort()
    expect(long).toEqual(LONGER)
  })

  it('names no path of one machine, and no host that packages come from', () => {
    const machine =
      /(^|[\s'"`(=:])\/(root|work|home\/[a-z]+|Users)\/|\/tmp\/brief|registry\.npmjs\.org|deb\.debian\.org/m
    const found = texts.filter(
      (path) => path !== THIS && !path.endsWith('package-lock.json') && machine.test(textOf(path)),
    )
    expect(found).toEqual([])
  })

  it('never turns verification off', () => {
    // Attackers are what verification is for.
    const ours = sources.filter((path) => path !== THIS && !path.startsWith('test/attacks/'))
    // A daemon as operators have it who list a registry in plain HTTP: Docker's own setting, not Shoal's.
    const isOperators = (path: string) => path === 'lab/field/field-clients.ts'
    const off =
      /NODE_TLS_REJECT_UNAUTHORIZED|checkServerIdentity:\s*\(\)\s*=>\s*(undefined|\{\s*\})|--src-tls-verify=false|--tls-verify=false|insecure-registr/
    expect(ours.filter((path) => !isOperators(path) && off.test(textOf(path)))).toEqual([])
    const lax = ours.filter((path) => /rejectUnauthorized:\s*false/.test(textOf(path)))
    // Whoever then judges each connection: a listener, its callers without a certificate; a reader of a clock, all but the times; who looks for a pinned authority, its pin; a doctor, whether a runtime would take it.
    const judges =
      /requestCert:\s*true|isTimeCode\(String\(secure\.authorizationError\)\)|pinOf\(certificate\)\.equals\(pin\)|tls\.authorized \?/
    expect(lax.filter((path) => !judges.test(textOf(path)))).toEqual([])
  })

  it('keeps private members with #, which holds at run time; a constructor can only be said to be private', () => {
    const isErased = /^\s*private (?!constructor\b)/m
    expect(sources.filter((path) => isErased.test(textOf(path)))).toEqual([])
  })

  it('leaves no note of unfinished work', () => {
    expect(sources.filter((path) => path !== THIS && /\b(TODO|FIXME|XXX|HACK)\b/.test(textOf(path)))).toEqual(
      [],
    )
  })

  it('skips no test and runs none alone', () => {
    const tests = files.filter((path) => path.endsWith('.test.ts') && path !== THIS)
    expect(tests.filter((path) => /\b(it|test|describe)\.(only|skip|todo)\b/.test(textOf(path)))).toEqual([])
  })
})

describe('dependencies', () => {
  type Manifest = Record<string, Record<string, string>>
  const manifest = JSON.parse(textOf('package.json')) as Manifest
  const peers = JSON.parse(textOf('bench/peers/package.json')) as Manifest
  const page = textOf('docs/decisions/0001-dependencies.md')
  const groups = ['dependencies', 'devDependencies', 'optionalDependencies']
  const taken = [manifest, peers].flatMap((it) => groups.flatMap((group) => Object.entries(it[group] ?? {})))
  const names = taken.map(([name]) => name)

  it('each have their line with the reason', () => {
    expect(names.length).toBeGreaterThan(10)
    expect(names.filter((name) => !page.includes(`| \`${name}\``))).toEqual([])
  })

  it('are pinned to one version', () => {
    const versions = taken.map(([, version]) => version)
    expect(
      versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version) && !version.startsWith('file:')),
    ).toEqual([])
  })

  it('that were considered and not taken are on the page too', () => {
    for (const name of ['webtorrent', 'bittorrent-tracker', 'http-proxy', 'node-forge']) {
      expect(page).toContain(`\`${name}\``)
      expect(Object.keys(manifest.dependencies ?? {})).not.toContain(name)
    }
  })
})

describe.each(['', 'bench/peers/'])('the lock file %spackage-lock.json', (folder) => {
  interface Locked {
    link?: boolean
    optional?: boolean
    resolved?: string
    engines?: { node?: string }
    dependencies?: Record<string, string>
    optionalDependencies?: Record<string, string>
  }
  const { packages } = JSON.parse(textOf(`${folder}package-lock.json`)) as {
    packages: Record<string, Locked>
  }
  const manifest = JSON.parse(textOf(`${folder}package.json`)) as Record<string, unknown>

  it('says the same as package.json', () => {
    const { bin: _bin, ...root } = packages[''] as Record<string, unknown>
    for (const group of ['dependencies', 'devDependencies', 'optionalDependencies']) {
      expect(root[group], group).toEqual(manifest[group])
    }
  })

  it('has every package that another asks for, of all platforms: npm ci refuses it otherwise', () => {
    const missing = Object.entries(packages).flatMap(([path, { dependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !isLocked(path, name)),
    )
    expect(missing).toEqual([])
  })

  it('has no optional package that npm leaves out on Node 18: it may be what another one runs on', () => {
    const refusing = Object.entries(packages).filter(([, { optional, engines }]) => {
      const oldest = Number(/>=\s*(\d+)[.\d]*$/.exec(engines?.node ?? '>=0')?.[1] ?? Infinity)
      return optional && oldest > 18
    })
    expect(refusing.map(([path]) => path)).toEqual([])
  })

  it('names no place that packages come from', () => {
    const places = Object.values(packages).filter(({ link, resolved }) => resolved !== undefined && !link)
    expect(places).toEqual([])
  })

  /** As Node resolves: beside the package that asks, then in each folder above. */
  function isLocked(path: string, name: string): boolean {
    for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
      if (packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true
      if (at === '') return false
    }
  }
})

describe('error codes', () => {
  const declared = files
    .filter((path) => /\.[jt]s$/.test(path) && !['test', 'bench'].includes(partOf(path)))
    .flatMap((path) =>
      [...textOf(path).matchAll(/^ {2}(?:readonly )?code = '([A-Z][A-Z0-9_]*)'/gm)].map(([, code = '']) => ({
        code,
        path,
      })),
    )
  const tabled = [
    ...(/STATUS_BY_CODE = \{([\s\S]*?)\n\}/.exec(textOf('tracker/errors.ts'))?.[1] ?? '').matchAll(
      /^\s+([A-Z_]+):/gm,
    ),
    ...textOf('client/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm),
    ...textOf('core/join-string.ts').matchAll(/'(JOIN_STRING[A-Z_]*)'/g),
  ]
  const codes = [...new Set([...declared.map(({ code }) => code), ...tabled.map(([, code = '']) => code)])]
  const page = textOf('docs/errors.md')

  it('stand for one class each', () => {
    const twice = declared.filter(
      ({ code }, index) => declared.findIndex((other) => other.code === code) !== index,
    )
    expect(twice).toEqual([])
  })

  it('are all documented', () => {
    expect(declared.length).toBeGreaterThan(30)
    expect(tabled.length).toBeGreaterThan(30)
    expect(codes.filter((code) => !page.includes(`| \`${code}\``))).toEqual([])
  })

  it('that are documented exist', () => {
    const documented = [...page.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code = '']) => code)
    expect(documented.filter((code) => !codes.includes(code) && !isCondition(code))).toEqual([])
  })

  function isCondition(code: string): boolean {
    return Object.hasOwn(CONDITIONS, code) || Object.hasOwn(DOCTOR_FINDINGS, code)
  }
})

describe('conditions', () => {
  it('are sorted by code, and say in plain sentences what is so and what to do', () => {
    for (const table of [CONDITIONS, DOCTOR_FINDINGS]) {
      const all = Object.keys(table)
      expect(all).toEqual(all.toSorted())
    }
    const rows = Object.entries<ConditionText>({ ...CONDITIONS, ...DOCTOR_FINDINGS })
    for (const [code, { title, text, cost, remedy }] of rows) {
      expect(code).toMatch(/^[A-Z][A-Z_]+$/)
      expect(title, code).toMatch(/^.{3,80}(?<!\.)$/)
      for (const sentence of [text, cost, remedy]) expect(sentence, code).toMatch(/^[A-Z`].*\.$/s)
    }
  })
})
