import { createHash } from 'node:crypto'
import { pieceLayout } from '../../../core/metainfo.ts'
import { RefusedError } from '../../errors.ts'
import type { PullLine, SwarmLine } from '../../store/browse.ts'
import type { AdminParts, Handlers } from '../handler.ts'
import { cursorNumber, cursorParts, partOf } from '../page.ts'

export function imageHandlers({ clusters, peers, revocations, store, nowMs }: AdminParts) {
  const swarmLine = (line: SwarmLine) => ({ ...line, ...peers.of(line.cluster).count(line.swarm, nowMs()) })
  const pullLine = (line: PullLine) => ({
    ...line,
    isRevoked: revocations.isPullRevoked(line.cluster, line.pull),
  })
  return {
    'images.list': async ({ limit, cursor, cluster = null, registry = null, repository = null }) => {
      const [ofCluster = '', ofRegistry = '', ofRepository = ''] = cursorParts(cursor, 3)
      const after = { cluster: ofCluster, registry: ofRegistry, repository: ofRepository }
      const found = await store.imageLines({ cluster, registry, repository, after, limit: limit + 1 })
      const { entries, next } = partOf(found, limit, (it) => [it.cluster, it.registry, it.repository])
      return { images: entries, next }
    },
    'images.inspect': async ({ limit, cursor, ...image }) => {
      clusters.get(image.cluster)
      const [after = ''] = cursorParts(cursor, 1)
      const found = await store.imageBlobs({ ...image, after, limit: limit + 1 })
      const { entries, next } = partOf(found.map(swarmLine), limit, ({ swarm }) => [swarm])
      return { blobs: entries, next }
    },
    'swarms.list': async ({ limit, cursor, cluster = null, registry = null, digest = null }) => {
      const [after = ''] = cursorParts(cursor, 1)
      const found = await store.swarmLines({ cluster, registry, digest, after, limit: limit + 1 })
      const { entries, next } = partOf(found.map(swarmLine), limit, ({ swarm }) => [swarm])
      return { swarms: entries, next }
    },
    'swarms.inspect': async ({ cluster, swarm: id }) => {
      clusters.get(cluster)
      const swarm = await store.loadSwarm(cluster, id)
      if (swarm === undefined) throw new RefusedError('SWARM_UNKNOWN', 'the cluster has no such swarm')
      const table = peers.of(cluster)
      const nodes = await store.nodes(cluster)
      return {
        swarm: swarmLine({ ...swarm, pieces: swarm.pieces.length }),
        piecesInAll: pieceLayout(swarm.bytes).pieceCount,
        holders: nodes.map(({ node }) => node).filter((node) => table.holds(node, id)),
        leases: swarm.leases.filter(({ expiresAtMs }) => expiresAtMs > nowMs()),
        completions: swarm.completions,
        disputes: swarm.disputes.length,
      }
    },
    'pulls.list': async ({
      limit,
      cursor,
      cluster = null,
      node = null,
      registry = null,
      repository = null,
    }) => {
      const [atMs, pull] = cursorParts(cursor, 2)
      const before =
        atMs === undefined || pull === undefined ? null : { grantedAtMs: cursorNumber(atMs), pull }
      const found = await store.pullLines({ cluster, node, registry, repository, before, limit: limit + 1 })
      const { entries, next } = partOf(found.map(pullLine), limit, (it) => [String(it.grantedAtMs), it.pull])
      return { pulls: entries, next }
    },
    'pulls.inspect': async ({ pull: id }) => {
      const pull = await store.pull(id)
      if (pull === undefined) throw new RefusedError('PULL_UNKNOWN', 'there is no such pull')
      const completeBlobs = pull.blobs.filter(({ isComplete }) => isComplete).length
      return {
        pull: pullLine({ ...pull, blobs: pull.blobs.length, completeBlobs }),
        keySha256: createHash('sha256').update(pull.spki).digest('hex'),
        tokenHash: pull.tokenHash,
        blobs: pull.blobs,
      }
    },
  } satisfies Partial<Handlers>
}
