import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates } from 'node:tls'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { systemAuthorities } from '../../core/system-authorities.ts'
import { contextTrusting } from '../../core/trusted-authorities.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-store-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const certificate = async (commonName: string) =>
  (await makeAuthority({ commonName, validForSeconds: 60 })).certificatePem.trim()

it('are those that Node finds', () => {
  const ofNode = new Set(getCACertificates('system').map((pem) => pem.trim()))
  expect(new Set(systemAuthorities())).toEqual(ofNode)
})

it('come from where the variables of OpenSSL say, each once', async () => {
  const [one, two, three] = [await certificate('one'), await certificate('two'), await certificate('three')]
  const certs = join(folder, 'certs')
  mkdirSync(join(certs, 'java'), { recursive: true })
  writeFileSync(join(certs, 'one.pem'), `# one\n${one}\n`)
  symlinkSync(join(certs, 'one.pem'), join(certs, '0a0b0c0d.0'))
  symlinkSync(join(certs, 'gone.pem'), join(certs, '0a0b0c0e.0'))
  writeFileSync(join(certs, 'all.crt'), `${one}\r\n${two.replaceAll('\n', '\r\n')}`)
  writeFileSync(join(folder, 'file.pem'), three)
  const env = { SSL_CERT_DIR: `${certs}:${join(folder, 'none')}`, SSL_CERT_FILE: join(folder, 'file.pem') }
  expect(systemAuthorities(env).sort()).toEqual([one, two, three].sort())
})

it('are trusted also where one of them is broken', async () => {
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'
  const whole = await certificate('whole')
  expect(() => contextTrusting([whole, broken])).not.toThrow()
  const identity = { certificatePem: whole, privateKeyPem: 'none' }
  expect(() => contextTrusting([whole], identity)).toThrow()
})
