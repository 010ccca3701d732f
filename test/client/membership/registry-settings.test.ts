import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { RegistrySettings } from '../../../client/membership/registry-settings.ts'
import { Conditions } from '../../../core/conditions.ts'
import type { RegistryClient } from '../../../core/registry-client.ts'
import { parseRegistryHost } from '../../../core/repository.ts'

const [OURS, THEIRS, BOTH] = ['ours.example', 'theirs.example', 'both.example'].map(parseRegistryHost)
const log = pino({ level: 'silent' })
const NEWS = {
  version: 'v1',
  list: [
    { host: THEIRS!, kinds: ['open'] },
    { host: BOTH!, kinds: ['token'] },
  ],
}

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'shoal-settings-'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

function begin(registriesFromTracker = false) {
  const registries = new Map([OURS!, BOTH!].map((host) => [host, { host } as RegistryClient]))
  const conditions = new Conditions({ log })
  const settings = new RegistrySettings({ registries, registriesFromTracker, dataDir, log, conditions })
  const codes = () => conditions.list().map(({ code, subject }) => `${code} ${subject}`)
  return { settings, registries, codes }
}

test('what the tracker names and this node does not, and the reverse, are said', () => {
  const { settings, codes } = begin()
  settings.update(NEWS)
  expect(settings.found()).toEqual([
    { host: OURS, kinds: [], state: 'unknown to the tracker' },
    { host: BOTH, kinds: ['token'], state: 'shared' },
    { host: THEIRS, kinds: ['open'], state: 'not consented' },
  ])
  expect(codes().sort()).toEqual([`REGISTRY_NOT_AT_TRACKER ${OURS}`, `REGISTRY_NOT_CONSENTED ${THEIRS}`])
  settings.update({ version: 'v2', list: [{ host: OURS!, kinds: [] }, ...NEWS.list] })
  expect(codes()).toEqual([`REGISTRY_NOT_CONSENTED ${THEIRS}`])
})

test('a node that consents hears of registries that come later, not of those that it takes at its start', () => {
  const { settings, registries, codes } = begin(true)
  settings.update(NEWS)
  expect(codes()).toEqual([])
  for (const { host } of settings.named()) registries.set(host, { host } as RegistryClient)
  settings.settle()
  const later = parseRegistryHost('later.example')
  settings.update({ version: 'v2', list: [...NEWS.list, { host: later, kinds: [] }] })
  expect(codes().sort()).toEqual([`REGISTRIES_CHANGED ${later}`, `REGISTRY_NOT_AT_TRACKER ${OURS}`])
})

test('what the tracker named is known after a restart, while no version is', () => {
  begin().settings.update(NEWS)
  const { settings } = begin()
  expect(settings.named().map(({ host }) => host)).toEqual([THEIRS, BOTH])
  expect(settings.version).toBeUndefined()
})

test('a tracker that knows no versions is told none', () => {
  const { settings } = begin()
  settings.update(NEWS)
  expect(settings.version).toBe('v1')
  settings.forgetVersion()
  expect(settings.version).toBeUndefined()
  settings.update(NEWS)
  expect(settings.version).toBe('v1')
})

test('a path of the API that the tracker names is taken with the host, and another one here is said', () => {
  const { settings, registries, codes } = begin()
  const named = (apiPath?: string) => [
    { host: OURS!, kinds: [] },
    { host: BOTH!, kinds: [], ...(apiPath && { apiPath }) },
  ]
  settings.update({ version: 'v1', list: named('/nexus/docker') })
  expect(settings.named()).toContainEqual(expect.objectContaining({ host: BOTH, apiPath: '/nexus/docker' }))
  expect(codes()).toEqual([`REGISTRY_PATH_DIFFERS ${BOTH}`])
  settings.update({ version: 'v2', list: named() })
  expect(codes()).toEqual([])
  registries.set(BOTH!, { host: BOTH!, apiPath: '/nexus/docker' } as RegistryClient)
  settings.update({ version: 'v3', list: named('/nexus/docker') })
  expect(codes()).toEqual([])
  settings.update({ version: 'v4', list: named('/nexus/other') })
  expect(codes()).toEqual([`REGISTRY_PATH_DIFFERS ${BOTH}`])
})
