import type { ClusterId, NodeId } from '../../../core/metainfo.ts'
import type { RevocationTarget } from '../../authority/revocations.ts'
import { RefusedError } from '../../errors.ts'
import type { MarkedNode } from '../../store/node-marks.ts'
import type { PauseTarget } from '../../store/pauses.ts'
import type { RevocationRecord } from '../../store/revocations.ts'
import type { ActedBy } from '../../store/store.ts'
import type { AdminParts, Handlers } from '../handler.ts'
import { isShown, nodeLine } from '../node-lines.ts'
import { cursorParts, partOf } from '../page.ts'

export function fleetHandlers(parts: AdminParts) {
  const { clusters, nodeMarks, pauses, revocations, store } = parts
  const drain = async (node: MarkedNode, isDrained: boolean, by: ActedBy) => {
    await nodeMarks.drain(node, isDrained, by)
    return { isDrained }
  }
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
    'nodes.list': async ({ cluster, limit, cursor, ...filter }) => {
      const after = cursorParts(cursor, 2).join(' ')
      const lines = (await store.nodes(cluster))
        .filter((it) => keyOf(it).join(' ') > after)
        .map((record) => nodeLine(parts, record))
        .filter((line) => isShown(line, filter))
      const { entries, next } = partOf(lines, limit, keyOf)
      return { nodes: entries, next }
    },
    'nodes.inspect': async (target) => {
      const record = (await store.nodes(target.cluster)).find(({ node }) => node === target.node)
      if (record === undefined) throw unknownNode(target)
      const listing = parts.peers.of(target.cluster).listing(target.node, parts.nowMs())
      const isOfNode = (it: RevocationRecord) => it.cluster === target.cluster && it.target === target.node
      return {
        node: nodeLine(parts, record),
        listing: listing === undefined ? null : { ...listing, isReached: listing.isReached ?? null },
        revocations: revocations.list().filter(isOfNode),
      }
    },
    'nodes.label': async ({ labels, ...node }, by) => {
      await nodeMarks.label(node, labels, by)
      return { labels }
    },
    'nodes.drain': (node, by) => drain(node, true, by),
    'nodes.undrain': (node, by) => drain(node, false, by),
    'nodes.forget': async (target, by) => {
      const { cluster, node } = target
      const audit = { atMs: by.nowMs, actor: by.actor, action: 'node forgotten', cluster, target: node }
      if (!(await store.removeNode(cluster, node, audit))) throw unknownNode(target)
      parts.peers.of(cluster).forget(node)
      return {}
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

function keyOf({ cluster, node }: { cluster: string; node: string }): string[] {
  return [cluster, node]
}

function unknownNode({ node }: MarkedNode): RefusedError {
  return new RefusedError('NODE_UNKNOWN', `the cluster has no node ${node}`)
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
