import { describe, expect, it } from 'vitest'
import { isForbiddenAddress, isRedirectPermitted } from '../../core/redirect-rule.ts'

const strict = { permitPrivateRedirects: false }

describe('a redirect', () => {
  it.each([
    'https://storage.example/blob?signature=x',
    'https://storage.example:8443/blob',
    'https://192.0.2.10/blob',
    'https://10.1.2.3/blob',
    'https://[2001:db8::1]/blob',
    // As Docker follows it: the digest decides about the bytes, and no credential goes along.
    'http://storage.example/blob',
  ])('may lead to %s', (url) => {
    expect(isRedirectPermitted(new URL(url), strict)).toBe(true)
  })

  it.each([
    'http://127.0.0.1/blob',
    'http://169.254.169.254/latest/meta-data',
    'file:///etc/passwd',
    'https://user:secret@storage.example/blob',
    'https://127.0.0.1/blob',
    'https://127.9.9.9/blob',
    'https://2130706433/blob',
    'https://0x7f.1/blob',
    'https://0.0.0.0/blob',
    'https://169.254.169.254/latest/meta-data',
    'https://100.100.100.200/latest',
    'https://[::1]/blob',
    'https://[::]/blob',
    'https://[::ffff:127.0.0.1]/blob',
    'https://[::ffff:169.254.169.254]/blob',
    'https://[fe80::1]/blob',
    'https://[fd00:ec2::254]/latest',
    'https://168.63.129.16/latest',
    'https://192.0.0.192/latest',
    'https://[fd20:ce::254]/latest',
    'https://[fd00:42::42]/latest',
    'https://[fd00:a9fe:a9fe::1]/latest',
    'https://[64:ff9b::7f00:1]/blob',
    'https://[64:ff9b:1::7f00:1]/blob',
    'https://[2002:7f00:1::]/blob',
  ])('may not lead to %s', (url) => {
    expect(isRedirectPermitted(new URL(url), strict)).toBe(false)
  })

  it('may lead to any address when configured', () => {
    const permitted = { permitPrivateRedirects: true }
    expect(isRedirectPermitted(new URL('https://127.0.0.1/blob'), permitted)).toBe(true)
    expect(isRedirectPermitted(new URL('http://127.0.0.1/blob'), permitted)).toBe(true)
  })

  it('is not permitted to what is no address at all', () => {
    expect(isForbiddenAddress('storage.example')).toBe(true)
  })
})
