import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { parseRegistryHost } from '../../core/repository.ts'
import { TrustFiles } from '../../proxy/trust-files.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-trust-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const registries = ['registry.example', 'localhost:5000'].map(parseRegistryHost)
const docker = () => join(folder, 'certs.d')
const authority = () => join(folder, 'proxy-ca.crt')
const trustFiles = () => new TrustFiles({ registries, dockerCertsDir: docker(), authorityFile: authority() })

test('a file per registry appears where Docker looks, and goes with the directories made for it', () => {
  const files = trustFiles()
  files.put('PEM')
  for (const host of registries) {
    const path = join(docker(), host, 'shoal.crt')
    expect(readFileSync(path, 'utf8')).toBe('PEM\n')
    expect(statSync(path).mode & 0o777).toBe(0o644)
  }
  expect(readFileSync(join(folder, 'proxy-ca.crt'), 'utf8')).toBe('PEM\n')
  files.remove()
  expect(readdirSync(folder)).toEqual(['proxy-ca.crt'])
})

test('neighbours are neither changed nor removed, nor is their directory', () => {
  const neighbour = join(docker(), 'registry.example', 'ca.crt')
  mkdirSync(join(docker(), 'registry.example'), { recursive: true })
  writeFileSync(neighbour, 'theirs')
  const files = trustFiles()
  files.put('PEM')
  expect(readdirSync(join(docker(), 'registry.example')).sort()).toEqual(['ca.crt', 'shoal.crt'])
  files.remove()
  expect(readFileSync(neighbour, 'utf8')).toBe('theirs')
  expect(readdirSync(docker())).toEqual(['registry.example'])
})

test('a directory that was made here stays when somebody put something into it', () => {
  const files = trustFiles()
  files.put('PEM')
  writeFileSync(join(docker(), 'localhost:5000', 'ca.crt'), 'theirs')
  files.remove()
  expect(readdirSync(docker())).toEqual(['localhost:5000'])
})

test('a file that a crash left behind is replaced', () => {
  trustFiles().put('OLD')
  const files = trustFiles()
  files.put('NEW')
  expect(readFileSync(join(docker(), 'registry.example', 'shoal.crt'), 'utf8')).toBe('NEW\n')
})

test('a file that another node has written since is left to it', () => {
  const [first, second] = [trustFiles(), trustFiles()]
  first.put('FIRST')
  second.put('SECOND')
  first.remove()
  expect(readFileSync(join(docker(), 'registry.example', 'shoal.crt'), 'utf8')).toBe('SECOND\n')
})

test('nothing is written for Docker when its directory is switched off', () => {
  const files = new TrustFiles({ registries, dockerCertsDir: '', authorityFile: authority() })
  files.put('PEM')
  expect(readdirSync(folder)).toEqual(['proxy-ca.crt'])
})

test('what cannot be written stops the start with a hint, and takes back what was written', () => {
  // A file where a directory must be: refused whoever runs this.
  mkdirSync(docker())
  writeFileSync(join(docker(), 'localhost:5000'), '')
  expect(() => trustFiles().put('PEM')).toThrow(
    expect.objectContaining({ code: 'TRUST_FILE', hint: expect.stringContaining('--docker-certs-dir none') }),
  )
  expect(existsSync(join(docker(), 'registry.example'))).toBe(false)
})

const conditionsOf = () => {
  const conditions = new Conditions({ log: pino({ level: 'silent' }) })
  const mends = () => conditions.list().map(({ subject, facts }) => [subject, facts.mend])
  return { conditions, mends }
}

test('a link to the authority file, as attach makes it, is left as it is, and always leads to what is current', () => {
  const linked = join(docker(), 'registry.example')
  mkdirSync(linked, { recursive: true })
  symlinkSync(authority(), join(linked, 'shoal.crt'))
  for (const pem of ['FIRST', 'SECOND']) {
    const files = trustFiles()
    files.put(pem)
    expect(readFileSync(join(linked, 'shoal.crt'), 'utf8')).toBe(`${pem}\n`)
    files.remove()
    expect(lstatSync(join(linked, 'shoal.crt')).isSymbolicLink()).toBe(true)
    expect(readFileSync(join(linked, 'shoal.crt'), 'utf8')).toBe(`${pem}\n`)
  }
})

test('a link to anything else is replaced, and what it leads to is not written', () => {
  const other = join(folder, 'other')
  writeFileSync(other, 'theirs')
  mkdirSync(join(docker(), 'registry.example'), { recursive: true })
  symlinkSync(other, join(docker(), 'registry.example', 'shoal.crt'))
  trustFiles().put('PEM')
  expect(readFileSync(other, 'utf8')).toBe('theirs')
  expect(lstatSync(join(docker(), 'registry.example', 'shoal.crt')).isFile()).toBe(true)
})

test('the operator’s _default is not hidden by a folder of ours', () => {
  mkdirSync(join(docker(), '_default'), { recursive: true })
  mkdirSync(join(docker(), 'localhost:5000'))
  const { conditions, mends } = conditionsOf()
  const files = new TrustFiles({
    ...{ registries, conditions },
    dockerCertsDir: docker(),
    authorityFile: authority(),
  })
  files.put('PEM')
  expect(readdirSync(docker()).sort()).toEqual(['_default', 'localhost:5000'])
  for (const name of ['_default', 'localhost:5000'])
    expect(readFileSync(join(docker(), name, 'shoal.crt'), 'utf8')).toBe('PEM\n')
  expect(mends()).toEqual([
    ['registry.example', expect.stringMatching(/^make .*registry\.example with what .*_default has in it/)],
  ])
  files.remove()
  expect(readdirSync(join(docker(), '_default'))).toEqual([])
})

test('a hosts.toml that hides shoal.crt is shown with the line that mends it, until it has that', () => {
  const hosts = join(docker(), 'registry.example', 'hosts.toml')
  mkdirSync(join(docker(), 'registry.example'), { recursive: true })
  writeFileSync(hosts, '[host."https://registry.example"]\n')
  const { conditions, mends } = conditionsOf()
  const places = { registries, conditions, dockerCertsDir: docker(), authorityFile: authority() }
  new TrustFiles(places).put('PEM')
  const line = `ca = ["${authority()}"]`
  expect(mends()).toEqual([['registry.example', `add ${line} to the host in ${hosts}`]])
  writeFileSync(hosts, `[host."https://registry.example"]\n${line}\n`)
  new TrustFiles(places).put('PEM')
  expect(mends()).toEqual([])
})
