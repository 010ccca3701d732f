import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type RelayRules, relayRules } from '../../relay/rules.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-rules-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function attach(proxy: string, consent: object = { registries: [], noProxy: '127.0.0.9' }): void {
  writeFileSync(join(folder, 'consent.json'), JSON.stringify(consent), { mode: 0o644 })
  writeFileSync(join(folder, 'upstream-proxy'), `${proxy}\n`, { mode: 0o600 })
}

function rulesFile(rules: object): string {
  const path = join(folder, 'relay.json')
  writeFileSync(path, JSON.stringify(rules), { mode: 0o600 })
  return path
}

/** The proxies through which TLS and plain requests reach a host. */
async function proxiesOf({ policy }: RelayRules, host = '192.0.2.1'): Promise<(string | undefined)[]> {
  const { via } = await policy.check({ host, port: 443 })
  const { via: plain } = await policy.checkPlain({ host, port: 80 })
  return [via?.addresses[0], plain].map((proxy) => proxy && `${proxy.host}:${proxy.port}`)
}

const both = (proxy: string | undefined) => [proxy, proxy]
const CORPORATE = both('corp.example:3128')
const NONE = both(undefined)
const rulesBy = (path?: string, env = {}) => relayRules({ path, attachedDir: folder, env })

describe('the rules of a relay', () => {
  it('have the upstream proxy that runtimes used before they were attached', async () => {
    attach('http://user:secret@corp.example:3128')
    const rules = rulesBy()
    expect(await proxiesOf(rules)).toEqual(CORPORATE)
    expect(await proxiesOf(rules, '127.0.0.9')).toEqual(NONE)
    expect(rules.ignored).toEqual([])
  })

  it('have it as a credential of the service manager', async () => {
    attach('http://older.example:3128')
    const CREDENTIALS_DIRECTORY = join(folder, 'credentials')
    mkdirSync(CREDENTIALS_DIRECTORY)
    writeFileSync(join(CREDENTIALS_DIRECTORY, 'attached-proxy'), 'http://corp.example:3128', { mode: 0o400 })
    expect(await proxiesOf(rulesBy(undefined, { CREDENTIALS_DIRECTORY }))).toEqual(CORPORATE)
  })

  it('prefer what the rules file or the environment says', async () => {
    attach('http://corp.example:3128')
    const named = { upstreamProxy: 'http://named.example:8080' }
    expect(await proxiesOf(rulesBy(rulesFile(named)))).toEqual(both('named.example:8080'))
    expect(await proxiesOf(rulesBy(rulesFile({ upstreamProxy: 'none' })))).toEqual(NONE)
    const env = { HTTPS_PROXY: 'http://env.example:1' }
    expect(await proxiesOf(rulesBy(undefined, env))).toEqual(['env.example:1', undefined])
    expect(await proxiesOf(rulesBy(rulesFile({ deniedPorts: [1] })))).toEqual(CORPORATE)
    expect(await proxiesOf(rulesBy(rulesFile({ noProxy: '192.0.2.1' })))).toEqual(NONE)
  })

  it('take no proxy where nothing is attached, or no runtime had one', async () => {
    expect(rulesBy().ignored).toEqual([])
    expect(await proxiesOf(rulesBy())).toEqual(NONE)
    attach('http://corp.example:3128')
    expect(await proxiesOf(relayRules({ path: undefined, attachedDir: '', env: {} }))).toEqual(NONE)
    attach('http://corp.example:3128', { registries: [] })
    expect(await proxiesOf(rulesBy())).toEqual(NONE)
  })

  it('take no proxy from a file that others can write, and never show its URL', async () => {
    attach('http://corp.example:3128')
    chmodSync(join(folder, 'upstream-proxy'), 0o666)
    const rules = rulesBy()
    expect(await proxiesOf(rules)).toEqual(NONE)
    expect(rules.ignored).toEqual([expect.stringContaining('can be written by others than root')])
    chmodSync(join(folder, 'upstream-proxy'), 0o600)
    attach('http://user:secret@no url')
    expect(rulesBy().ignored).toEqual([expect.not.stringContaining('secret')])
    expect(await proxiesOf(rulesBy())).toEqual(NONE)
  })

  it('have the attached proxy although the rules file is broken', async () => {
    attach('http://corp.example:3128')
    const path = join(folder, 'broken.json')
    writeFileSync(path, '{', { mode: 0o600 })
    const rules = rulesBy(path)
    expect(rules.ignored).toHaveLength(1)
    expect(await proxiesOf(rules)).toEqual(CORPORATE)
  })
})
