import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import type { RevocationTarget } from '../../authority/revocations.ts'
import { RefusedError } from '../../errors.ts'
import type { PauseTarget } from '../../store/pauses.ts'
import type { ActedBy } from '../../store/store.ts'
import type { AdminParts, Handlers } from '../handler.ts'
import { pageOf } from '../page.ts'

export function fleetHandlers(parts: AdminParts) {
  const { clusters, pauses, revocations, store } = parts
  const pause = async (target: PauseTarget, by: ActedBy) => {
    clusters.get(target.cluster)
    await pauses.pause(target, by)
    return { ...target, isPaused: true }
  }
  const resume = async (target: PauseTarget, by: ActedBy) => {
    clusters.get(target.cluster)
    await pauses.resume(target, by)
    return { ...target, isPaused: false }
  }
  return {
    'nodes.list': async ({ cluster, ...page }) => {
      const { entries, next } = pageOf(await store.nodes(cluster), page, (it) => `${it.cluster} ${it.node}`)
      return { nodes: entries, next }
    },
    'revocations.list': () => ({ revocations: [...revocations.list()] }),
    'revocations.create': async ({ cluster, node, pull }, by) => {
      clusters.get(cluster)
      const target = await revokedTarget(parts, { cluster, node, pull })
      const revocation = await revocations.revoke(cluster, target, by)
      if (target.kind === 'node') parts.peers.of(cluster).forget(target.node)
      return { revocation }
    },
    'revocations.clear': async ({ revocation }, by) => {
      await revocations.clear(revocation, by)
      return { revocation }
    },
    'pauses.list': () => ({ pauses: [...pauses.list()] }),
    'clusters.pause': ({ cluster }, by) => pause({ cluster, node: null }, by),
    'clusters.resume': ({ cluster }, by) => resume({ cluster, node: null }, by),
    'nodes.pause': (target, by) => pause(target, by),
    'nodes.resume': (target, by) => resume(target, by),
  } satisfies Partial<Handlers>
}

interface Revoked {
  cluster: ClusterId
  node?: NodeId | undefined
  pull?: string | undefined
}

/** @throws RefusedError PULL_UNKNOWN */
async function revokedTarget(
  { store }: AdminParts,
  { cluster, node, pull: id = '' }: Revoked,
): Promise<RevocationTarget> {
  if (node !== undefined) return { kind: 'node', node }
  const pull = await store.pull(id)
  if (pull === undefined || pull.cluster !== cluster) {
    throw new RefusedError('PULL_UNKNOWN', 'the cluster has no such pull')
  }
  return { kind: 'pull', pull: pull.pull, registry: pull.registry, subject: pull.subject }
}
