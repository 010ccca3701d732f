import type { Client } from '../client/index.ts'
import type { Conditions, ShownCondition } from '../core/conditions.ts'
import type { LayerRecord, PullSummary } from '../proxy/pull-records.ts'
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
  client: Pick<Client, 'status' | 'registriesFound'>
  conditions: Pick<Conditions, 'shown' | 'health'>
  history: Pick<PullHistory, 'records' | 'installedMs' | 'sinceInstall'>
}

export function statusOf(parts: StatusParts, nowMs = Date.now()) {
  const { joined, tracker, peers, held, moved } = parts.client.status()
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
    peers,
    cache: held,
    conditions,
    pulls: parts.history.records
      .list()
      .filter(({ endedMs }) => (endedMs ?? nowMs) >= nowMs - PULLS_SHOWN_MS)
      .map(pullOf),
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

function pullOf({ layers, beganMs, endedMs, ...pull }: PullSummary) {
  return { ...pull, ...times({ beganMs, endedMs }), layers: layers.map(layerOf) }
}

function layerOf({ beganMs, endedMs, ...layer }: LayerRecord) {
  return { ...layer, ...times({ beganMs, endedMs }) }
}

function times({ beganMs, endedMs }: { beganMs: number; endedMs: number | undefined }) {
  return { began: timeText(beganMs), ...(endedMs === undefined ? {} : { ended: timeText(endedMs) }) }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
