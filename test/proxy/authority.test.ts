import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'

const DAY = 24 * 3600
const registry = parseRegistryHost('registry.example:5000')

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-authority-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const pemBlocks = (pem: string) => pem.match(/-----BEGIN[\s\S]+?-----END CERTIFICATE-----/g) ?? []

test('the authority permits the configured hosts alone, names and addresses apart', async () => {
  const hosts = ['registry.example:5000', '192.0.2.7:5000', '[2001:db8::1]:5000'].map(parseRegistryHost)
  const { certificatesPem } = await ProxyAuthority.make(hosts)
  const text = execFileSync('openssl', ['x509', '-noout', '-text'], { input: certificatesPem }).toString()
  expect(text).toMatch(
    /Name Constraints: critical\s+Permitted:\s+DNS:registry\.example\s+IP:192\.0\.2\.7\/255\.255\.255\.255\s+IP:2001:DB8:0:0:0:0:0:1\/FFFF/,
  )
})

test('with names alone no address can be issued for', async () => {
  const { certificatesPem } = await ProxyAuthority.make([registry])
  writeFileSync(join(folder, 'ca.pem'), certificatesPem)
  const text = execFileSync('openssl', ['x509', '-noout', '-text'], { input: certificatesPem }).toString()
  expect(text).toMatch(/Excluded:\s+IP:0\.0\.0\.0\/0\.0\.0\.0\s+IP:0:0:0:0:0:0:0:0\/0/)
})

test('it ends within 30 days and is another at every start', async () => {
  const [one, other] = [await ProxyAuthority.make([registry]), await ProxyAuthority.make([registry])]
  const { validToDate, publicKey } = new X509Certificate(one.certificatesPem)
  expect(validToDate.getTime() - Date.now()).toBeLessThanOrEqual(30 * DAY * 1000)
  expect(publicKey.equals(new X509Certificate(other.certificatesPem).publicKey)).toBe(false)
})

test('a leaf is used again while it is fresh and made anew after half of its day', async () => {
  let now = 1000
  const authority = await ProxyAuthority.make([registry], () => now)
  const first = await authority.contextFor(registry)
  now += DAY / 2 - 10
  expect(await authority.contextFor(registry)).toBe(first)
  now += 20
  expect(await authority.contextFor(registry)).not.toBe(first)
})

test('requests at the same moment share one leaf', async () => {
  const authority = await ProxyAuthority.make([registry])
  const [one, other] = await Promise.all([authority.contextFor(registry), authority.contextFor(registry)])
  expect(one).toBe(other)
})

test('in a process that runs for weeks the next authority is published days before it signs', async () => {
  let now = 1000
  const authority = await ProxyAuthority.make([registry], () => now)
  const [first] = pemBlocks(authority.certificatesPem)
  const leaf = await authority.contextFor(registry)
  expect(await authority.renewWhenDue()).toBe(false)
  now += 20.5 * DAY
  expect(await authority.renewWhenDue()).toBe(true)
  const [still, next] = pemBlocks(authority.certificatesPem)
  expect(still).toBe(first)
  expect(await authority.renewWhenDue()).toBe(false)
  now += 5 * DAY
  expect(await authority.renewWhenDue()).toBe(true)
  expect(pemBlocks(authority.certificatesPem)).toEqual([next])
  expect(await authority.contextFor(registry)).not.toBe(leaf)
})
