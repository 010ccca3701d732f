import { type Encodable, encodeBencode } from '../../core/bencode.ts'
import type { InfoHash } from '../../core/metainfo.ts'
import { infoHashOf } from '../../core/torrent.ts'
import { PEERS_HANDED_OUT_MAX } from '../handout/peers.ts'
import type { TrackerParts } from '../parts.ts'
import { ANNOUNCE_INTERVAL_SECONDS } from '../swarm/stock-peers.ts'
import type { Announce } from './announce-query.ts'
import { compactPeers } from './compact-peers.ts'
import type { StockCaller } from './stock-caller.ts'
import { checkAlias, stockTorrentOf } from './stock-torrent.ts'

const TOKENS_REQUIRED = 'this registry requires tokens: only Shoal nodes can be peers (docs/stock-clients.md)'

/**
 * An announce of a stock client (BEP 3, 23). Lists the client if it may be a peer, and names Shoal nodes with the whole
 * blob. Where peers must prove a token, it lists nobody and names nobody.
 * @returns the bencoded answer
 * @throws RefusedError TORRENT_UNKNOWN, TORRENT_PENDING
 */
export async function announce(parts: TrackerParts, caller: StockCaller, asked: Announce): Promise<Buffer> {
  await checkAlias(parts, caller, asked.infoHash)
  const { peer, identity } = caller
  const mayBePeer = peer !== undefined && parts.credentialsSeen.isOpen(identity.registry)
  if (mayBePeer) list(parts, caller, peer, asked)
  const { seeds, leechers } = countsOf(parts, caller)
  return encodeBencode({
    interval: ANNOUNCE_INTERVAL_SECONDS,
    complete: seeds,
    incomplete: leechers,
    ...(mayBePeer
      ? seedsFor(parts, caller, peer)
      : { ...compactPeers([]), 'warning message': TOKENS_REQUIRED }),
  })
}

function list(
  parts: TrackerParts,
  { cluster, identity }: StockCaller,
  { node, address }: NonNullable<StockCaller['peer']>,
  { port, isSeed, infoHash, isStopping }: Announce,
): void {
  const { stock } = parts.peers.of(cluster.cluster)
  if (isStopping) stock.stop(identity.swarm, node)
  else stock.announce(identity.swarm, { node, address, port, isSeed, infoHash }, parts.nowMs())
}

function seedsFor(
  parts: TrackerParts,
  { cluster, identity }: StockCaller,
  { node }: NonNullable<StockCaller['peer']>,
): { peers: Buffer; peers6: Buffer } {
  const seeds = parts.peers.of(cluster.cluster).chooseSeeds(identity.swarm, {
    asker: node,
    peersMax: PEERS_HANDED_OUT_MAX,
    random: parts.random,
    nowMs: parts.nowMs(),
  })
  return compactPeers(seeds)
}

/**
 * A scrape (BEP 48) of the route's swarm. @param infoHash the torrent that the scrape named, if any
 * @throws RefusedError TORRENT_UNKNOWN, TORRENT_PENDING
 */
export async function scrape(
  parts: TrackerParts,
  caller: StockCaller,
  infoHash: InfoHash | undefined,
): Promise<Buffer> {
  if (infoHash !== undefined) await checkAlias(parts, caller, infoHash)
  const name = infoHash ?? infoHashOf(await stockTorrentOf(parts, caller))
  const { seeds, leechers } = countsOf(parts, caller)
  // Nodes that completed and left are not remembered, so `downloaded` counts the nodes that have it now.
  const counts: Encodable = { complete: seeds, downloaded: seeds, incomplete: leechers }
  return encodeBencode({ files: new Map([[Buffer.from(name, 'hex').toString('latin1'), counts]]) })
}

function countsOf(parts: TrackerParts, { cluster, identity }: StockCaller) {
  const table = parts.peers.of(cluster.cluster)
  const nodes = table.count(identity.swarm, parts.nowMs())
  const stock = table.stock.count(identity.swarm, parts.nowMs())
  return { seeds: nodes.seeds + stock.seeds, leechers: nodes.leechers + stock.leechers }
}
