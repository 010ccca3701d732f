import { createHash } from 'node:crypto'
import { type Encodable, encodeBencode } from './bencode.ts'
import { type Digest, digestHex } from './digest.ts'
import { InvalidInputError } from './errors.ts'
import { type InfoHash, pieceLayout } from './metainfo.ts'

/** Bytes of SHA-1 per piece in a v1 torrent (BEP 3). */
export const PIECE_SHA1_BYTES = 20

/** A blob's facts for a stock client. */
export interface StockTorrent {
  digest: Digest
  /** Length of the blob in bytes. */
  bytes: number
  /** SHA-1 of every piece, 20 bytes each. */
  piecesSha1: Buffer
  /** The certificate (PEM) of the cluster's authority: the torrent excludes peers of other authorities. */
  authorityPem: string
}

/**
 * The blob as a single-file v1 info dictionary: BEP 3, private (BEP 27), and with `ssl-cert` as in libtorrent's SSL
 * torrents. Certificates of its peers name the torrent's `name`, the digest in hex, or `*`.
 * @throws InvalidInputError unless there is one SHA-1 for each piece
 */
function infoDictionary({ digest, bytes, piecesSha1, authorityPem }: StockTorrent): Encodable {
  const { pieceBytes, pieceCount } = pieceLayout(bytes)
  if (piecesSha1.length !== pieceCount * PIECE_SHA1_BYTES) {
    throw new InvalidInputError(`a blob of ${pieceCount} pieces has as many SHA-1 hashes`)
  }
  return {
    length: bytes,
    name: digestHex(digest),
    'piece length': pieceBytes,
    pieces: piecesSha1,
    private: 1,
    'ssl-cert': authorityPem,
  }
}

/** SHA-1 of the info dictionary (BEP 3): the alias under which stock clients see the blob's swarm. */
export function infoHashOf(torrent: StockTorrent): InfoHash {
  return createHash('sha1')
    .update(encodeBencode(infoDictionary(torrent)))
    .digest('hex') as InfoHash
}

/** The .torrent file. @param announceUrl the absolute URL of the tracker's announce route for this swarm */
export function torrentFile(torrent: StockTorrent, announceUrl: string): Buffer {
  return encodeBencode({ announce: announceUrl, info: infoDictionary(torrent) })
}
