import type { NodeId } from '../../../core/metainfo.ts'
import { reseal } from '../../authority/sealer.ts'
import type { TokenKeyRecord } from '../../store/store.ts'
import type { AdminParts, Handlers } from '../handler.ts'

export function upkeepHandlers(parts: AdminParts) {
  const { kindsFound, tokenKeys, store, sealer, restored, peers } = parts
  return {
    'registries.list': () => ({ registries: kindsFound.news.list }),
    'tokenKeys.list': () => ({ tokenKeys: tokenKeys.list().map(lineOf) }),
    'tokenKeys.withdraw': async ({ id }, by) => ({
      tokenKeys: (await tokenKeys.withdraw(id, by)).map(lineOf),
    }),
    'audit.list': async ({ limit, cursor }) => {
      // One more than shown says whether there are more.
      const found = await store.audit({
        limit: limit + 1,
        ...(cursor === undefined ? {} : { beforeSequence: cursor }),
      })
      const entries = found.slice(0, limit)
      return { entries, next: found.length > limit ? String(entries.at(-1)!.sequence) : null }
    },
    'restore.show': async () => ({ restore: (await restored.report()) ?? null }),
    'restore.confirm': async (input, by) => {
      const inForce = await restored.confirm(input, by)
      for (const { cluster, kind, target } of inForce)
        if (kind === 'node') peers.of(cluster).forget(target as NodeId)
      return { revocations: inForce.length }
    },
    'keys.reseal': async (keys, by) => ({ sealed: await reseal(store, sealer, keys, by) }),
  } satisfies Partial<Handlers>
}

/** Keys that a probe confirmed, and withdrawn ones. Configured keys are only in the configuration. */
function lineOf({ id, key, probedAtMs, trustedUntilMs, withdrawnAtMs }: TokenKeyRecord) {
  return { id, ...key, probedAtMs, trustedUntilMs, withdrawnAtMs }
}
