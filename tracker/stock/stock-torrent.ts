import type { InfoHash } from '../../core/metainfo.ts'
import { infoHashOf, type StockTorrent } from '../../core/torrent.ts'
import { RefusedError } from '../errors.ts'
import type { TrackerParts } from '../parts.ts'
import type { StockCaller } from './stock-caller.ts'

/**
 * The swarm's torrent for stock clients, bound to the authority that issues certificates now.
 * @throws RefusedError TORRENT_PENDING until a node brought the SHA-1 hashes
 */
export async function stockTorrentOf(parts: TrackerParts, caller: StockCaller): Promise<StockTorrent> {
  const { swarm, digest, bytes } = caller.identity
  const piecesSha1 = await parts.store.piecesSha1(swarm)
  if (piecesSha1 === undefined) {
    throw new RefusedError('TORRENT_PENDING', 'no node has brought the SHA-1 hashes of this blob yet')
  }
  return { digest, bytes, piecesSha1, authorityPem: caller.cluster.trust.authorities[0]! }
}

/**
 * Makes sure that `infoHash` is this swarm's alias, under any authority that is trusted now.
 * @throws RefusedError TORRENT_UNKNOWN, TORRENT_PENDING
 */
export async function checkAlias(
  parts: TrackerParts,
  caller: StockCaller,
  infoHash: InfoHash,
): Promise<void> {
  const torrent = await stockTorrentOf(parts, caller)
  const isAlias = caller.cluster.trust.authorities.some(
    (authorityPem) => infoHashOf({ ...torrent, authorityPem }) === infoHash,
  )
  if (!isAlias)
    throw new RefusedError(
      'TORRENT_UNKNOWN',
      'info_hash does not belong to this swarm: fetch the torrent again',
    )
}
