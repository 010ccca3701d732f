import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConsent, withAttached } from '../../node/attached.ts'
import { nodeConfig } from '../../node/config.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-attached-'))
  const consent = { registries: ['registry.example'], noProxy: 'near.example' }
  writeFileSync(join(folder, 'consent.json'), JSON.stringify(consent))
})
afterEach(() => rmSync(folder, { recursive: true }))

const config = () => nodeConfig.parse({ trackerUrl: 'https://tracker.example', attachedDir: folder })

test('the proxy of before comes from the folder, or as a credential where only root can read that', () => {
  expect(withAttached(config(), readConsent(folder), {})).toMatchObject({
    upstreamProxyFile: join(folder, 'upstream-proxy'),
    noProxy: 'near.example',
  })
  const credentials = join(folder, 'credentials')
  mkdirSync(credentials)
  writeFileSync(join(credentials, 'attached-proxy'), 'http://proxy.example:3128')
  expect(withAttached(config(), readConsent(folder), { CREDENTIALS_DIRECTORY: credentials })).toMatchObject({
    upstreamProxyFile: join(credentials, 'attached-proxy'),
    noProxy: 'near.example',
  })
})
