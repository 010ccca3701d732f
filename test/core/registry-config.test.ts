import { describe, expect, it } from 'vitest'
import { registriesConfig } from '../../core/registry-config.ts'

describe('configured registries', () => {
  it('are an array of objects with defaults', () => {
    expect(registriesConfig.parse([{ host: 'Registry.Example:443' }])).toEqual([
      { host: 'registry.example', permitPrivateRedirects: false },
    ])
  })

  it('may be JSON or a list of hosts in one text', () => {
    const hosts = (value: unknown) => registriesConfig.parse(value).map(({ host }) => host)
    expect(hosts('[{"host": "one.example", "kind": "none"}]')).toEqual(['one.example'])
    expect(hosts(' [ ]')).toEqual([])
    expect(hosts('')).toEqual([])
    expect(hosts('one.example, two.example:5000,')).toEqual(['one.example', 'two.example:5000'])
    expect(hosts('[::1]:5000,one.example')).toEqual(['[::1]:5000', 'one.example'])
  })

  it.each([
    ['JSON that is broken', '[{"host": "one.example"'],
    ['a host that is a URL', 'https://one.example'],
    ['an unknown kind', [{ host: 'one.example', kind: 'oauth' }]],
    ['an unknown key', [{ host: 'one.example', insecure: true }]],
    ['an empty path', [{ host: 'one.example', caFile: '' }]],
    ['the same host twice', 'one.example,One.Example:443'],
  ])('are refused with %s', (_, value) => {
    expect(registriesConfig.safeParse(value).success).toBe(false)
  })
})
