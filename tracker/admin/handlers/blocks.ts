import { PAGE_ENTRIES_MAX } from '../../../core/admin-api/fields.ts'
import { parseImageRepository } from '../../../core/image-name.ts'
import type { ClusterId } from '../../../core/metainfo.ts'
import { textOf } from '../../authority/blocks.ts'
import { RefusedError } from '../../errors.ts'
import type { BlockRecord, BlockTarget } from '../../store/blocks.ts'
import type { RevocationRecord } from '../../store/revocations.ts'
import type { AdminParts, Handlers } from '../handler.ts'

/** A blocked node is a revoked one: its block has the number of its revocation. */
const NODE_BLOCK = /^node-(\d+)$/

export function blockHandlers(parts: AdminParts) {
  const { blocks, clusters, revocations } = parts
  const nodeBlocks = () => revocations.list().filter(isBlock).map(nodeLine)
  return {
    'blocks.list': ({ cluster }) => ({
      blocks: [...blocks.list().map(lineOf), ...nodeBlocks()].filter(
        (it) => cluster === undefined || it.cluster === cluster,
      ),
    }),
    'blocks.create': async ({ cluster, repository, digest, node }, by) => {
      clusters.get(cluster)
      if (node !== undefined) {
        const known = revocations
          .list()
          .find((it) => it.cluster === cluster && it.target === node && isBlock(it))
        const sequence = known?.sequence ?? (await revocations.revoke(cluster, { kind: 'node', node }, by))
        parts.peers.of(cluster).forget(node)
        const since = known?.atMs ?? by.nowMs
        return { block: nodeLine({ sequence, cluster, target: node, atMs: since }), blobs: null }
      }
      const target: BlockTarget =
        digest === undefined
          ? { kind: 'repository', ...knownRepository(parts, repository!) }
          : { kind: 'digest', digest }
      const block = await blocks.add(cluster, target, by)
      return { block: lineOf(block), blobs: await blobsOf(parts, cluster, target) }
    },
    'blocks.remove': async ({ block }, by) => {
      const sequence = NODE_BLOCK.exec(block)?.[1]
      if (sequence === undefined) await blocks.remove(block, by)
      else {
        const isKnown = revocations.list().some((it) => it.sequence === Number(sequence) && isBlock(it))
        if (!isKnown) throw new RefusedError('BLOCK_UNKNOWN', `no block ${block} is in force`)
        await revocations.clear(Number(sequence), by)
      }
      return { block }
    },
  } satisfies Partial<Handlers>
}

/** What an administrator revoked, not what the tracker decided. */
function isBlock({ kind, endsAtMs }: RevocationRecord): boolean {
  return kind === 'node' && endsAtMs === null
}

function lineOf({ id, cluster, target, atMs }: BlockRecord) {
  return { block: id, cluster, kind: target.kind, target: textOf(target), atMs }
}

type NodeBlock = Pick<RevocationRecord, 'sequence' | 'cluster' | 'target' | 'atMs'>
function nodeLine({ sequence, cluster, target, atMs }: NodeBlock) {
  return { block: `node-${sequence}`, cluster, kind: 'node' as const, target, atMs }
}

/** @throws RefusedError REGISTRY_UNKNOWN: nothing of another registry is shared, so the name is wrong */
function knownRepository({ registries }: AdminParts, text: string) {
  const named = parseImageRepository(text)
  if (registries.has(named.registry)) return named
  throw new RefusedError('REGISTRY_UNKNOWN', `${named.registry} is not configured`)
}

/** How many blobs on record it covers: none shows that its name may be wrong. */
async function blobsOf({ store }: AdminParts, cluster: ClusterId, target: BlockTarget): Promise<number> {
  const part = { after: '', limit: PAGE_ENTRIES_MAX }
  const lines =
    target.kind === 'digest'
      ? store.swarmLines({ cluster, registry: null, digest: target.digest, ...part })
      : store.imageBlobs({ cluster, registry: target.registry, repository: target.repository, ...part })
  return (await lines).length
}
