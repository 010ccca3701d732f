import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ProxyRequestError } from '../../proxy/errors.ts'
import { parseAuthority, TargetPolicy } from '../../proxy/upstream/target.ts'

test('a link-local address passes where that is configured, and nowhere else', async () => {
  const target = { host: '169.254.169.254', port: 80 }
  const permitted = new TargetPolicy({ permitLinkLocal: true })
  expect((await permitted.check(target)).addresses).toEqual([{ address: '169.254.169.254', family: 4 }])
  await expect(new TargetPolicy({ permitLinkLocal: false }).check(target)).rejects.toMatchObject({
    code: 'CONNECT_DENIED',
  })
})

const NEAR_METADATA = [
  '168.63.129.17',
  '192.0.0.193',
  'fd20:ce::255',
  'fd00:42::43',
  '64:ff9b::c000:201',
  '64:ff9b:1::c000:201',
  '64:ff9b:1:c000:2:100::',
  '2002:c000:201::1',
]
test.each(NEAR_METADATA)('%s is no metadata address, nor does it carry one', async (host) => {
  await new TargetPolicy({ permitLinkLocal: false }).check({ host, port: 80 })
})

test.each([
  'fd20:ce::254',
  '::ffff:168.63.129.16',
  '64:ff9b::6464:64c8',
  '64:ff9b:1::a9fe:a9fe',
  '64:ff9b:1:2:3:4:a9fe:a9fe',
  '64:ff9b:1:a9fe:a9:fe00::', // RFC 6052 §2.2: a prefix of 48 bits
  '64:ff9b:1:2a9:fe:a9fe::', // 56 bits
  '64:ff9b:1:2:a9:fea9:fe00:0', // 64 bits
  '2002:a9fe:a9fe::1',
])('%s is denied, and passes where it is a permitted target', async (host) => {
  const strict = new TargetPolicy({ permitLinkLocal: false })
  await expect(strict.check({ host, port: 80 })).rejects.toMatchObject({ code: 'CONNECT_DENIED' })
  const permittedTargets = [{ host, port: 80 }]
  await new TargetPolicy({ permitLinkLocal: false, permittedTargets }).check({ host, port: 80 })
})

test('a checked name carries the addresses that were checked', async () => {
  const { addresses } = await new TargetPolicy({ permitLinkLocal: false }).check({
    host: 'localhost',
    port: 443,
  })
  expect(addresses.every(({ address }) => address === '127.0.0.1' || address === '::1')).toBe(true)
})

test('an authority is host:port, and IPv6 addresses lose their brackets', () => {
  expect(parseAuthority('Registry.Example:443')).toEqual({ host: 'registry.example', port: 443 })
  expect(parseAuthority('[::1]:5000')).toEqual({ host: '::1', port: 5000 })
})

test('no text makes an authority that is not one host and one port', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      try {
        const { host, port } = parseAuthority(text)
        expect(host).toMatch(/^[^\s/?#@[\]\\%]{1,253}$/)
        expect(port).toBeGreaterThan(0)
        expect(port).toBeLessThan(65_536)
      } catch (error) {
        expect(error).toBeInstanceOf(ProxyRequestError)
      }
    }),
  )
})
