import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Conditions } from '../../core/conditions.ts'
import { createLog } from '../../core/log.ts'
import type { RegistryHost } from '../../core/repository.ts'
import { PULLS_SHOWN_MS, statusOf } from '../../node/status.ts'
import { PullRecords } from '../../proxy/pull-records.ts'
import { FakeClient } from '../proxy/fake-client.ts'

const log = createLog({ level: 'silent', name: 'test' })
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-status-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function begin() {
  let nowMs = 5_000_000
  const client = new FakeClient()
  const conditions = new Conditions({ log, nowMs: () => 4_000_000 })
  const records = new PullRecords({ nowMs: () => nowMs })
  const history = {
    records,
    installedMs: 1000,
    sinceInstall: () => ({ peers: 1, registry: 2, cache: 3, passedThrough: 4, toPeers: 5 }),
  }
  const parts = {
    ...{ version: '9.9.9', startedMs: 2000, isServing: () => true, client, conditions, history },
  }
  client.found = [
    { host: 'registry.example' as RegistryHost, kinds: ['token'], state: 'shared' },
    { host: 'other.example:5000' as RegistryHost, kinds: [], state: 'unknown to the tracker' },
  ]
  const pull = (digit: string) =>
    records.begin({
      registry: 'registry.example' as never,
      repository: 'team/app' as never,
      digest: `sha256:${digit.repeat(64)}` as never,
      isPart: false,
    })
  return {
    client,
    conditions,
    pull,
    status: () => statusOf(parts, nowMs),
    passMs: (ms: number) => (nowMs += ms),
  }
}

test('the status of a node that is well names its parts, and when each began', () => {
  const { status } = begin()
  expect(status()).toMatchObject({
    status: 'ok',
    codes: [],
    node: {
      version: '9.9.9',
      started: '1970-01-01T00:00:02.000Z',
      joined: true,
      cluster: 'c0',
      since: '1970-01-01T00:00:01.000Z',
    },
    tracker: { url: 'https://tracker.example:7443', state: 'connected', since: '1970-01-01T00:00:02.000Z' },
    registries: [
      { host: 'registry.example', kinds: ['token'], state: 'shared', conditions: [] },
      { host: 'other.example:5000', kinds: [], state: 'unknown to the tracker' },
    ],
    peers: { connected: 4, refused: 1, unreachable: 2, bytes: { near: 4, far: 2 } },
    cache: { blobs: 1, bytes: 10, bytesMax: 100, evictions: 7 },
    conditions: [],
    pulls: [],
    totals: {
      sinceStart: { peers: 0, registry: 0, cache: 0, passedThrough: 0, toPeers: 5 },
      sinceInstall: { since: '1970-01-01T00:00:01.000Z', peers: 1, toPeers: 5 },
    },
  })
})

test('the status says why the node has not joined, and what is known of each condition', () => {
  const { client, conditions, status } = begin()
  client.isJoined = false
  expect(status().node).toMatchObject({ joined: false, reason: 'the tracker has not answered yet' })
  conditions.raise('NOT_JOINED', '', { reason: 'no answer from the tracker' })
  // This one stands for all that name a registry.
  conditions.raise('NO_REGISTRIES', 'registry.example')
  expect(status()).toMatchObject({
    status: 'degraded',
    node: { joined: false, reason: 'no answer from the tracker' },
    registries: [{ conditions: ['NO_REGISTRIES'] }, { conditions: [] }],
    conditions: [
      {
        code: 'NOT_JOINED',
        severity: 'error',
        title: expect.any(String),
        text: expect.any(String),
        cost: expect.any(String),
        remedy: expect.stringContaining('--tracker-url'),
        subject: '',
        since: '1970-01-01T01:06:40.000Z',
      },
      { subject: 'registry.example' },
    ],
  })
})

test('the status shows the pulls of the last hour and those that run, the newest first', () => {
  const { pull, status, passMs } = begin()
  const old = pull('a')
  old.reads({ peers: 4, registry: 0, cache: 0 })
  old.end('swarm')
  const long = pull('b')
  passMs(PULLS_SHOWN_MS + 1)
  const fresh = pull('c')
  fresh.fell('STORE_FULL')
  fresh.end('cut_short')
  const { pulls, totals } = status()
  expect(pulls).toMatchObject([
    {
      outcome: 'failed',
      reasons: ['STORE_FULL'],
      began: expect.stringMatching(/Z$/),
      ended: expect.stringMatching(/Z$/),
      layers: [{ digest: `sha256:${'c'.repeat(64)}`, outcome: 'failed', began: expect.any(String) }],
    },
    { outcome: 'running' },
  ])
  expect(pulls[1]).not.toHaveProperty('ended')
  expect(totals.sinceStart.peers).toBe(4)
  long.end('swarm')
  expect(status().pulls).toHaveLength(2)
})
