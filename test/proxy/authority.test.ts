import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:tls'
import { expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { ProxyAuthority } from '../../proxy/intercept/authority.ts'

const DAY = 24 * 3600
const registry = parseRegistryHost('registry.example:5000')

const pemBlocks = (pem: string) => pem.match(/-----BEGIN[\s\S]+?-----END CERTIFICATE-----/g) ?? []

const textsOf = (pem: string) =>
  pemBlocks(pem).map((input) => execFileSync('openssl', ['x509', '-noout', '-text'], { input }).toString())

test.skipIf(mustSkipFor(['openssl']))(
  'each configured host has an authority of its own, for it alone',
  async () => {
    const hosts = ['registry.example:5000', '192.0.2.7:5000', '[2001:db8::1]:5000'].map(parseRegistryHost)
    const texts = textsOf((await ProxyAuthority.make(hosts)).certificatesPem)
    const nobody = String.raw`email:nobody\.invalid\s+URI:nobody\.invalid`
    const noAddress = String.raw`IP:0\.0\.0\.0/0\.0\.0\.0\s+IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0`
    for (const [index, [permitted, excluded]] of [
      [String.raw`DNS:registry\.example`, String.raw`DNS:\.registry\.example\s+${noAddress}`],
      [String.raw`IP:192\.0\.2\.7/255\.255\.255\.255`, 'DNS:'],
      ['IP:2001:DB8:0:0:0:0:0:1/FFFF(:FFFF){7}', 'DNS:'],
    ].entries()) {
      const constraints = String.raw`Name Constraints: critical\s+Permitted:\s+${permitted}\s+${nobody}\s+Excluded:\s+${excluded}\s+${nobody}\n`
      expect(texts[index]).toMatch(new RegExp(constraints))
    }
    expect(texts).toHaveLength(3)
  },
)

test('a registry and one on its subdomain can both be spoken for', async () => {
  const hosts = ['example.com', 'hub.example.com', 'hub.example.com:5000'].map(parseRegistryHost)
  const authority = await ProxyAuthority.make(hosts)
  expect(pemBlocks(authority.certificatesPem)).toHaveLength(2)
  for (const host of hosts) {
    const secureContext = await authority.contextFor(host)
    const server = createServer({ SNICallback: (_name, done) => done(null, secureContext) }).listen(0)
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const servername = host.split(':')[0]!
    const socket = connect({ port, servername, ca: authority.certificatesPem })
    await once(socket, 'secureConnect')
    socket.destroy()
    server.close()
  }
})

test('it ends within 30 days and is another at every start', async () => {
  const [one, other] = [await ProxyAuthority.make([registry]), await ProxyAuthority.make([registry])]
  const { validToDate, publicKey } = new X509Certificate(one.certificatesPem)
  expect(validToDate.getTime() - Date.now()).toBeLessThanOrEqual(30 * DAY * 1000)
  expect(publicKey.equals(new X509Certificate(other.certificatesPem).publicKey)).toBe(false)
})

test('a leaf is used again while it is fresh and made anew after half of its day', async () => {
  let now = 1000
  const authority = await ProxyAuthority.make([registry], { nowSeconds: () => now })
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
  const authority = await ProxyAuthority.make([registry], { nowSeconds: () => now })
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

test('what a process keeps of it, the next one takes over: pulls under way trust it', async () => {
  const other = parseRegistryHost('other.example')
  let kept = ''
  const keep = (text: string) => {
    kept = text
  }
  const first = await ProxyAuthority.make([registry, other], { keep })
  expect(kept).not.toContain('\n')
  const [ofRegistry] = pemBlocks(first.certificatesPem)
  const next = await ProxyAuthority.make([registry, parseRegistryHost('new.example')], { kept })
  const [same, added, ...more] = pemBlocks(next.certificatesPem)
  expect([same, more]).toEqual([ofRegistry, []])
  expect(textsOf(added!)[0]).toContain('DNS:new.example')
  const secureContext = await next.contextFor(registry)
  const server = createServer({ SNICallback: (_name, done) => done(null, secureContext) }).listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket = connect({ port, servername: 'registry.example', ca: first.certificatesPem })
  await once(socket, 'secureConnect')
  socket.destroy()
  server.close()
})

test('it is new where what was kept is due for a change, or is nothing', async () => {
  let kept = ''
  const keep = (text: string) => {
    kept = text
  }
  const { certificatesPem } = await ProxyAuthority.make([registry], { keep })
  const nowSeconds = () => Date.now() / 1000 + 21 * DAY
  const later = await ProxyAuthority.make([registry], { kept, nowSeconds })
  expect(later.certificatesPem).not.toBe(certificatesPem)
  const damaged = await ProxyAuthority.make([registry], { kept: kept.slice(0, -2) })
  expect(pemBlocks(damaged.certificatesPem)).toHaveLength(1)
})
