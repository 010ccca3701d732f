import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import { TrustFiles } from '../../proxy/trust-files.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-trust-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const registries = ['registry.example', 'localhost:5000'].map(parseRegistryHost)
const docker = () => join(folder, 'certs.d')
const trustFiles = () => new TrustFiles({ registries, dockerCertsDir: docker(), dataDir: folder })

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
  expect(readdirSync(folder)).toEqual([])
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
  const files = new TrustFiles({ registries, dockerCertsDir: '', dataDir: folder })
  files.put('PEM')
  expect(readdirSync(folder)).toEqual(['proxy-ca.crt'])
})

test('what cannot be written stops the start with a hint, and takes back what was written', () => {
  // A file where a directory must be: refused whoever runs this.
  mkdirSync(docker())
  writeFileSync(join(docker(), 'localhost:5000'), '')
  expect(() => trustFiles().put('PEM')).toThrow(
    expect.objectContaining({ code: 'TRUST_FILE', hint: expect.stringContaining('dockerCertsDir') }),
  )
  expect(existsSync(join(docker(), 'registry.example'))).toBe(false)
})
