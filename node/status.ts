import type { Client } from '../client/index.ts'
import type { Conditions, ShownCondition } from '../core/conditions.ts'
import { type LayerRecord, PULL_SOURCES, type PullSummary, type PullWaits } from '../proxy/pull-record.ts'
import { type Waits, waitAt } from '../proxy/waits.ts'
import type { PullHistory } from './pull-history.ts'
import { readinessOf } from './readiness.ts'

/** What `GET /v1/status` says (docs/status.md). Data only: who shows it chooses words and units. */

/** Pulls that began or ended within this time are shown. */
export const PULLS_SHOWN_MS = 3_600_000

export interface StatusParts {
  version: string
  startedMs: number
  /** Whether the proxy accepts connections. */
  isServing: () => boolean
  client: Pick<Client, 'status' | 'registriesFound' | 'progress'>
  conditions: Pick<Conditions, 'shown' | 'health'>
  history: Pick<PullHistory, 'records' | 'installedMs' | 'sinceInstall'>
}

export function statusOf(parts: StatusParts, nowMs = Date.now()) {
  const { joined, tracker, peers, held, moved, location } = parts.client.status()
  const conditions = parts.conditions.shown()
  const { lastError, sinceMs, url, ...trackerRest } = tracker
  return {
    ...parts.conditions.health(),
    ready: readinessOf(parts.conditions, parts.isServing()).status,
    node: {
      version: parts.version,
      started: timeText(parts.startedMs),
      ...(joined === undefined
        ? { joined: false, reason: reasonNotJoined(conditions) }
        : { joined: true, cluster: joined.cluster, id: joined.node, since: timeText(joined.sinceMs) }),
      ...location,
    },
    tracker: {
      url: url ?? null,
      ...trackerRest,
      since: timeText(sinceMs),
      ...(lastError && {
        lastError: { code: lastError.code, reason: lastError.reason, at: timeText(lastError.atMs) },
      }),
    },
    registries: parts.client.registriesFound().map((registry) => ({
      ...registry,
      conditions: conditions.filter(({ subject }) => subject === registry.host).map(({ code }) => code),
    })),
    peers: { ...peers, bytes: { near: moved.bytesFromNear, far: moved.bytesFromFar } },
    cache: held,
    conditions,
    pulls: parts.history.records
      .list()
      .filter(({ endedMs }) => (endedMs ?? nowMs) >= nowMs - PULLS_SHOWN_MS)
      .map((pull) => ({ ...pullOf(pull), ...peersOf(pull, parts.client) })),
    totals: {
      sinceStart: { ...parts.history.records.total(), toPeers: moved.bytesToPeers },
      sinceInstall: { since: timeText(parts.history.installedMs), ...parts.history.sinceInstall() },
    },
  }
}

function reasonNotJoined(conditions: ShownCondition[]): string {
  const condition = conditions.find(({ code }) => code === 'NOT_JOINED')
  return String(condition?.facts.reason ?? 'the tracker has not answered yet')
}

/** A pull as the local API shows it. */
export function pullOf({ layers, beganMs, endedMs, waits, ...pull }: PullSummary) {
  return { ...pull, ...times({ beganMs, endedMs }), waits: waitsOf(waits), layers: layers.map(layerOf) }
}

function layerOf({ beganMs, endedMs, waits = {}, ...layer }: LayerRecord) {
  return { ...layer, ...times({ beganMs, endedMs }), waits: waitsOf(waits) }
}

/** The sources of the chunks that were waited for. */
function waitsOf(waits: PullWaits) {
  const sources = PULL_SOURCES.flatMap((source) => {
    const one = waits[source]
    return one === undefined || one.chunks === 0 ? [] : [[source, shownWaits(one)] as const]
  })
  return Object.fromEntries(sources)
}

function shownWaits(waits: Waits) {
  const rounded = (ms = 0) => Number(ms.toPrecision(3))
  const [p50Ms, p99Ms] = [rounded(waitAt(waits, 0.5)), rounded(waitAt(waits, 0.99))]
  return { chunks: waits.chunks, ms: Math.round(waits.ms), p50Ms, p99Ms }
}

/** The most peers that a layer of a running pull has now. */
function peersOf({ outcome, registry, layers }: PullSummary, client: Pick<Client, 'progress'>) {
  if (outcome !== 'running') return {}
  const wanted = new Set(layers.map(({ digest }) => digest))
  const blobs = client.progress().filter((blob) => blob.registry === registry && wanted.has(blob.digest))
  return { peers: Math.max(0, ...blobs.map(({ peers }) => peers)) }
}

function times({ beganMs, endedMs }: { beganMs: number; endedMs: number | undefined }) {
  return { began: timeText(beganMs), ...(endedMs === undefined ? {} : { ended: timeText(endedMs) }) }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
