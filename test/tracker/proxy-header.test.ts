import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AddressRanges, isAddressRange } from '../../tracker/address-ranges.ts'
import { PROXY_HEADER_BYTES_MAX, readProxyHeader } from '../../tracker/api/proxy-header.ts'
import { headerOf, TCP4_PART, TCP6_PART } from './proxy-headers.ts'

const codeOf = (received: Buffer) => {
  try {
    return readProxyHeader(received)
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('a header of the PROXY protocol, version 2', () => {
  it('names the source of a connection over IPv4 and IPv6', () => {
    expect(readProxyHeader(headerOf({}))).toEqual({ bytes: 28, source: '203.0.113.7' })
    const six = headerOf({ family: 0x21, body: TCP6_PART })
    expect(readProxyHeader(six)).toEqual({ bytes: 52, source: '2001:db8::7' })
    const mapped = Buffer.concat([Buffer.alloc(10), Buffer.from([255, 255, 10, 0, 0, 7]), Buffer.alloc(20)])
    expect(readProxyHeader(headerOf({ family: 0x21, body: mapped }))?.source).toBe('10.0.0.7')
  })

  it('may have TLVs, and bytes of the connection behind it', () => {
    const body = Buffer.concat([TCP4_PART, Buffer.from([0xea, 0, 2, 1, 2, 4, 0, 0])])
    const header = headerOf({ body })
    const received = Buffer.concat([header, Buffer.from('hello')])
    expect(readProxyHeader(received)).toEqual({ bytes: header.length, source: '203.0.113.7' })
  })

  it('of the balancer’s own connections (LOCAL) names nobody, whatever it says', () => {
    expect(readProxyHeader(headerOf({ command: 0x20 }))).toEqual({ bytes: 28, source: undefined })
    expect(readProxyHeader(headerOf({ command: 0x20, family: 0, body: Buffer.alloc(0) }))).toEqual({
      ...{ bytes: 16, source: undefined },
    })
  })

  it('is waited for until it is whole', () => {
    const header = headerOf({})
    for (let end = 0; end < header.length; end += 1)
      expect(readProxyHeader(header.subarray(0, end))).toBeUndefined()
  })

  it('is missed at the first byte that cannot be one, also where the balancer speaks version 1', () => {
    expect(codeOf(Buffer.from([0x16]))).toBe('PROXY_HEADER_MISSING')
    expect(codeOf(Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n'))).toBe('PROXY_HEADER_MISSING')
  })

  it.each([
    ['another version', headerOf({ command: 0x11 })],
    ['an unknown command', headerOf({ command: 0x22 })],
    ['UDP', headerOf({ family: 0x12 })],
    ['no family', headerOf({ family: 0x00, body: Buffer.alloc(0) })],
    ['a Unix socket', headerOf({ family: 0x31, body: Buffer.alloc(216) })],
    ['addresses that are cut off', headerOf({ body: TCP4_PART.subarray(0, 11) })],
    ['IPv4’s addresses for IPv6', headerOf({ family: 0x21 })],
    ['a TLV that is cut off', headerOf({ body: Buffer.concat([TCP4_PART, Buffer.from([1, 0])]) })],
    [
      'a TLV longer than the header',
      headerOf({ body: Buffer.concat([TCP4_PART, Buffer.from([1, 0, 9, 1])]) }),
    ],
    ['more bytes than the bound', headerOf({ body: Buffer.alloc(PROXY_HEADER_BYTES_MAX) }).subarray(0, 16)],
  ])('with %s is refused', (_, received) => {
    expect(codeOf(received)).toBe('PROXY_HEADER_MALFORMED')
  })

  it('of any bytes is one, is waited for within its bound, or is refused', () => {
    const any = fc.oneof(
      fc.uint8Array({ maxLength: 2048 }),
      fc.uint8Array({ maxLength: 2048 }).map((rest) => Buffer.concat([headerOf({}).subarray(0, 12), rest])),
    )
    fc.assert(
      fc.property(any, (bytes) => {
        const received = Buffer.from(bytes)
        const found = codeOf(received)
        if (found === undefined) expect(received.length).toBeLessThan(PROXY_HEADER_BYTES_MAX)
        else if (typeof found !== 'string') expect(found.bytes).toBeLessThanOrEqual(received.length)
      }),
    )
  })
})

describe('balancers', () => {
  it('are addresses and ranges of both families', () => {
    const balancers = new AddressRanges(['10.0.0.5', '192.0.2.0/24', '2001:db8::/64'])
    for (const address of ['10.0.0.5', '192.0.2.77', '2001:db8::9']) expect(balancers.has(address)).toBe(true)
    for (const address of ['10.0.0.6', '192.0.3.1', '2001:db8:1::9', ''])
      expect(balancers.has(address)).toBe(false)
  })

  it('are not all addresses, nor names', () => {
    const bad = [
      '0.0.0.0/0',
      '::/0',
      'balancer',
      '10.0.0.0/33',
      '10.0.0.0/',
      '10.0.0.0/8/8',
      '10.0.0/8',
      '::1/129',
      '',
    ]
    expect(bad.filter(isAddressRange)).toEqual([])
    expect(['10.0.0.5', '10.0.0.0/8', '2001:db8::/32', '::1/128'].every(isAddressRange)).toBe(true)
  })
})
