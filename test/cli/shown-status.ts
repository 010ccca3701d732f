import type { NodeStatus, ShownCondition, ShownPull } from '../../cli/node-status.ts'
import { CONDITIONS } from '../../core/condition-texts.ts'

/** A node's status as the local API gives it, for tests of the pages. */

export const NOW_MS = Date.parse('2026-11-30T12:00:00Z')
const MIB = 1024 * 1024
const ago = (seconds: number) => new Date(NOW_MS - seconds * 1000).toISOString()
const none = { peers: 0, registry: 0, cache: 0, passedThrough: 0 }
const digestOf = (digit: string) => `sha256:${digit.repeat(64)}`

export function runningPull(): ShownPull {
  return {
    ...{ id: '00112233aabbccdd', registry: 'registry.example.com', repository: 'team/app', reference: 'v2' },
    ...{ digest: digestOf('a'), began: ago(4), outcome: 'running', peers: 4, reasons: [] },
    bytes: { peers: 100 * MIB, registry: 20 * MIB, cache: 4 * MIB, passedThrough: 0 },
    waits: {},
    layers: [
      {
        ...{ digest: digestOf('1'), size: 150 * MIB, began: ago(4), outcome: 'running' },
        bytes: { ...none, peers: 80 * MIB, registry: 16 * MIB },
        ...{ waits: {}, reasons: [] },
      },
      {
        ...{ digest: digestOf('2'), size: 28 * MIB, began: ago(4), ended: ago(1), outcome: 'done' },
        bytes: { ...none, peers: 20 * MIB, registry: 4 * MIB, cache: 4 * MIB },
        ...{ waits: {}, reasons: [] },
      },
    ],
  }
}

export function endedPull(changes: Partial<ShownPull> = {}): ShownPull {
  return {
    ...{ id: '8899aabbccddeeff', registry: 'registry.example.com', repository: 'team/app', reference: 'v1' },
    ...{ digest: digestOf('b'), began: ago(130), ended: ago(124.6), outcome: 'done' },
    bytes: { peers: 180 * MIB, registry: 18 * MIB, cache: 0, passedThrough: 2 * MIB },
    waits: {
      peers: { chunks: 720, ms: 2140, p50Ms: 1.68, p99Ms: 19 },
      registry: { chunks: 72, ms: 900, p50Ms: 9.51, p99Ms: 76.1 },
      passedThrough: { chunks: 33, ms: 60, p50Ms: 0.42, p99Ms: 26.9 },
    },
    reasons: ['BLOB_SMALL', 'GRANT_LATE'],
    layers: [
      {
        ...{ digest: digestOf('1'), size: 150 * MIB, began: ago(130), ended: ago(124.6), outcome: 'done' },
        bytes: { ...none, peers: 140 * MIB, registry: 10 * MIB },
        waits: {
          peers: { chunks: 560, ms: 1700, p50Ms: 1.68, p99Ms: 19 },
          registry: { chunks: 40, ms: 700, p50Ms: 9.51, p99Ms: 76.1 },
        },
        reasons: [],
      },
      {
        ...{ digest: digestOf('2'), size: 48 * MIB, began: ago(130), ended: ago(127), outcome: 'done' },
        bytes: { ...none, peers: 40 * MIB, registry: 8 * MIB },
        waits: {
          peers: { chunks: 160, ms: 440, p50Ms: 1.68, p99Ms: 13.5 },
          registry: { chunks: 32, ms: 200, p50Ms: 4.76, p99Ms: 53.8 },
        },
        reasons: ['GRANT_LATE'],
      },
      {
        ...{ digest: digestOf('3'), size: 2 * MIB, began: ago(130), ended: ago(129.9), outcome: 'done' },
        bytes: { ...none, passedThrough: 2 * MIB },
        waits: { passedThrough: { chunks: 33, ms: 60, p50Ms: 0.42, p99Ms: 26.9 } },
        reasons: ['BLOB_SMALL'],
      },
    ],
    ...changes,
  }
}

export function condition(
  code: keyof typeof CONDITIONS,
  subject = '',
  facts: ShownCondition['facts'] = {},
): ShownCondition {
  return { code, subject, facts, since: ago(300), ...CONDITIONS[code] }
}

export function wellStatus(changes: Partial<NodeStatus> = {}): NodeStatus {
  return {
    ...{ status: 'ok', codes: [], ready: 'ready' },
    node: {
      ...{ version: '0.9.0', started: ago(11_520), joined: true },
      ...{ cluster: 'c0123456789abcdef', id: 'n00112233445566778899aabb' },
      ...{ zone: '', rack: '' },
    },
    tracker: { url: 'https://tracker.example.com:7443', state: 'connected', since: ago(11_500) },
    registries: [{ host: 'registry.example.com', state: 'shared', kinds: ['token'], conditions: [] }],
    peers: { connected: 7, refused: 0, unreachable: 0, bytes: { near: 0, far: 0 } },
    cache: { blobs: 12, bytes: 3.4 * 1024 * MIB, bytesMax: 20 * 1024 * MIB, evictions: 0 },
    conditions: [],
    pulls: [],
    totals: {
      sinceStart: {
        peers: 1800 * MIB,
        registry: 210 * MIB,
        cache: 50 * MIB,
        passedThrough: 4 * MIB,
        toPeers: 900 * MIB,
      },
      sinceInstall: {
        ...{ peers: 81_000 * MIB, registry: 9_000 * MIB, cache: 800 * MIB, passedThrough: 90 * MIB },
        ...{ toPeers: 70_000 * MIB, since: '2026-09-01T08:00:00.000Z' },
      },
    },
    ...changes,
  }
}
