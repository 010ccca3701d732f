import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { JOINED_FILE, readJoined, trackerOf, writeJoined } from '../../../client/membership/joined-cluster.ts'
import type { ClusterId } from '../../../core/metainfo.ts'

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'shoal-joined-'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

test('after a join the pinned authority alone counts; a configured tracker has the authorities of the system too', () => {
  const cluster = `c${'0'.repeat(16)}` as ClusterId
  writeJoined(dataDir, { cluster, trackers: ['tracker.example:7443', '10.0.0.5:7443'], authorityPem: 'PEM' })
  expect(trackerOf({ dataDir })).toEqual({
    trackerUrl: 'https://tracker.example:7443',
    otherTrackerUrls: ['https://10.0.0.5:7443'],
    trackerCaPem: 'PEM',
    isPinned: true,
  })
  expect(trackerOf({ dataDir, trackerUrl: 'https://other.example,https://one.more' })).toMatchObject({
    trackerUrl: 'https://other.example',
    otherTrackerUrls: ['https://one.more'],
    isPinned: false,
  })
})

test('a newer Shoal’s file is read if it has what this version needs; else the node ends, and leaves it alone', () => {
  const path = join(dataDir, JOINED_FILE)
  const cluster = `c${'0'.repeat(16)}` as ClusterId
  writeJoined(dataDir, { cluster, trackers: ['tracker.example:7443'], authorityPem: 'PEM' })
  const newer = { ...JSON.parse(readFileSync(path, 'utf8')), version: 2, since: 'tomorrow' }
  writeFileSync(path, JSON.stringify(newer))
  expect(readJoined(dataDir)).toMatchObject({ cluster, trackers: ['tracker.example:7443'] })
  const other = JSON.stringify({ version: 2, sites: [] })
  writeFileSync(path, other)
  const refused = { code: 'CONFIG', hint: expect.stringContaining('Install the version that wrote it') }
  expect(() => readJoined(dataDir)).toThrow(expect.objectContaining(refused))
  expect(readFileSync(path, 'utf8')).toBe(other)
  writeFileSync(path, JSON.stringify({ version: 1 }))
  const damaged = { code: 'CONFIG', hint: expect.stringContaining('shoal leave') }
  expect(() => readJoined(dataDir)).toThrow(expect.objectContaining(damaged))
})
