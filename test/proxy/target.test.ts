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
