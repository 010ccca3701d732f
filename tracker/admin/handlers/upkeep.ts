import { configKeys } from '../../../core/config-keys.ts'
import type { NodeId } from '../../../core/metainfo.ts'
import { scrubSecrets } from '../../../core/scrub-secrets.ts'
import { reseal } from '../../authority/sealer.ts'
import { type TrackerConfig, trackerConfig } from '../../config.ts'
import type { TokenKeyRecord } from '../../store/store.ts'
import { followEvents } from '../follow.ts'
import type { AdminParts, Handlers } from '../handler.ts'
import { partOf } from '../page.ts'

export function upkeepHandlers(parts: AdminParts) {
  const { kindsFound, tokenKeys, store, sealer, restored, peers, config } = parts
  return {
    'registries.list': () => ({ registries: kindsFound.news.list }),
    'tokenKeys.list': () => ({ tokenKeys: tokenKeys.list().map(lineOf) }),
    'tokenKeys.withdraw': async ({ id }, by) => ({
      tokenKeys: (await tokenKeys.withdraw(id, by)).map(lineOf),
    }),
    'audit.list': async ({ limit, cursor: beforeSequence, ...filter }) => {
      const found = await store.audit({ limit: limit + 1, beforeSequence, ...filter })
      const { entries, next } = partOf(found, limit, ({ sequence }) => [String(sequence)])
      return { entries, next }
    },
    'restore.show': async () => ({ restore: (await restored.report()) ?? null }),
    'restore.confirm': async (input, by) => {
      const inForce = await restored.confirm(input, by)
      for (const { cluster, kind, target } of inForce)
        if (kind === 'node') peers.of(cluster).forget(target as NodeId)
      return { revocations: inForce.length }
    },
    'events.follow': ({ after }, signal) => followEvents(parts, after, signal),
    'settings.list': () => ({ settings: settingLines(config) }),
    'keys.reseal': async (keys, by) => ({ sealed: await reseal(store, sealer, keys, by) }),
  } satisfies Partial<Handlers>
}

/** Keys that a probe confirmed, and withdrawn ones. Configured keys are only in the configuration. */
function lineOf({ id, key, probedAtMs, trustedUntilMs, withdrawnAtMs }: TokenKeyRecord) {
  return { id, ...key, probedAtMs, trustedUntilMs, withdrawnAtMs }
}

/** In the order of docs/config.md. */
function settingLines(config: Readonly<TrackerConfig>) {
  return configKeys('tracker', trackerConfig).map(({ key, description }) => {
    const name = key as keyof TrackerConfig
    const absent = trackerConfig.shape[name].safeParse(undefined)
    const value = config[name] ?? null
    const isDefault = JSON.stringify(absent.data ?? null) === JSON.stringify(value)
    return { name, value: withoutSecrets(name, value), isDefault, description }
  })
}

/** Secrets are in files, except that the URL of a proxy may have a password. */
function withoutSecrets(name: string, value: unknown): unknown {
  return typeof value === 'string' && !WITHOUT_SECRETS.has(name) ? scrubSecrets(value) : value
}

/** Their schema refuses a password, and their query is none. */
const WITHOUT_SECRETS: ReadonlySet<string> = new Set(['databaseUrl', 'databaseListenUrl'])
