import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { trackerOf, writeJoined } from '../../../client/membership/joined-cluster.ts'
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
