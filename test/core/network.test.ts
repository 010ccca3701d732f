import { expect, test } from 'vitest'
import { addressText, isLoopbackHost } from '../../core/network.ts'

test.each(['localhost', '127.0.0.1', '127.9.8.7', '::1', '::ffff:127.0.0.1'])(
  '%s is this machine',
  (host) => {
    expect(isLoopbackHost(host)).toBe(true)
  },
)

test.each([
  '0.0.0.0',
  '::',
  '10.0.0.1',
  '::ffff:10.0.0.1',
  '127.999.0.1',
  '127.example',
  'localhost.example',
  '',
])('%j may be another machine', (host) => {
  expect(isLoopbackHost(host)).toBe(false)
})

test('an IPv6 address stands in brackets before its port', () => {
  expect(addressText({ host: '::1', port: 7443 })).toBe('[::1]:7443')
  expect(addressText({ host: 'tracker.example', port: 7443 })).toBe('tracker.example:7443')
})
