import { expect, it } from 'vitest'
import { NoProxy } from '../../core/no-proxy.ts'

/** Rows as in Go's own tests of golang.org/x/net/http/httpproxy, and what they leave out. */
it.each<[rules: string, host: string, port: number, isDirect: boolean]>([
  ['', 'registry.example.com', 443, false],
  ['example.com', 'example.com', 443, true],
  ['example.com', 'registry.example.com', 443, true],
  ['example.com', 'notexample.com', 443, false],
  ['EXAMPLE.com', 'Registry.Example.COM', 443, true],
  ['.example.com', 'registry.example.com', 443, true],
  ['.example.com', 'example.com', 443, false],
  ['*.example.com', 'registry.example.com', 443, true],
  ['*.example.com', 'example.com', 443, false],
  ['example.com:8443', 'registry.example.com', 8443, true],
  ['example.com:8443', 'registry.example.com', 443, false],
  ['a.test, example.com ,b.test', 'example.com', 443, true],
  ['*', 'anything.test', 443, true],
  ['a.test,*', '192.0.2.1', 443, true],
  ['10.0.0.0/8', '10.200.3.4', 443, true],
  ['10.0.0.0/8', '11.0.0.1', 443, false],
  ['10.0.0.0/8', 'ten.example.com', 443, false],
  ['192.0.2.7', '192.0.2.7', 443, true],
  ['192.0.2.7:8443', '192.0.2.7', 443, false],
  ['192.0.2.7:8443', '192.0.2.7', 8443, true],
  ['2001:db8::/32', '2001:db8::5', 443, true],
  ['2001:db8::5', '2001:DB8:0::5', 443, true],
  ['[2001:db8::5]:8443', '2001:db8::5', 8443, true],
  ['[2001:db8::5]:8443', '2001:db8::5', 443, false],
  ['10.0.0.0/99,,.', '10.0.0.1', 443, false],
  // Loopback is this machine: no proxy leads there.
  ['', 'localhost', 443, true],
  ['', 'registry.localhost', 443, true],
  ['', '127.3.2.1', 443, true],
  ['', '::1', 443, true],
])('NO_PROXY %j: %s:%i is reached directly: %s', (rules, host, port, isDirect) => {
  expect(new NoProxy(rules).has(host, port)).toBe(isDirect)
})
