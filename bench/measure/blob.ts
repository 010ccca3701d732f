import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeBencode } from '../../core/bencode.ts'
import { type Digest, digestFromHex } from '../../core/digest.ts'

/** A random blob on disk, with the data that the systems need about it. No process holds it in memory. */
export interface BenchBlob {
  /** The digest in hex digits: also the file's name and the torrent's. */
  name: string
  digest: Digest
  bytes: number
  /** Folder of the file `name`. */
  folder: string
  path: string
  /** SHA-1 of every piece of TORRENT_PIECE_BYTES, one after the other (BEP 3). */
  pieceHashes: Buffer
}

/** Piece length of the other systems' torrents: common for files of this size, and a multiple of every block size. */
export const TORRENT_PIECE_BYTES = 1024 * 1024

/** Writes `bytes` random bytes (a multiple of 1 MiB) below `folder`, all the way to the disk. */
export async function makeBlob(folder: string, bytes: number): Promise<BenchBlob> {
  const draft = join(folder, `draft-${bytes}`)
  const whole = createHash('sha256')
  const pieceHashes: Buffer[] = []
  const piece = Buffer.allocUnsafe(TORRENT_PIECE_BYTES)
  await using file = await open(draft, 'wx')
  for (let written = 0; written < bytes; written += piece.length) {
    randomFillSync(piece)
    whole.update(piece)
    pieceHashes.push(createHash('sha1').update(piece).digest())
    await file.write(piece)
  }
  await file.sync()
  const name = whole.digest('hex')
  const path = join(folder, name)
  await rename(draft, path)
  return { name, digest: digestFromHex(name), bytes, folder, path, pieceHashes: Buffer.concat(pieceHashes) }
}

export interface Torrent {
  /** The .torrent file. */
  file: Buffer
  /** 20 bytes, as announced to a tracker (BEP 3). */
  infoHash: Buffer
}

/**
 * A BitTorrent v1 torrent of one file, private so that peers come only from the benchmark (BEP 27).
 * @param sslAuthorityPem makes it an SSL torrent in libtorrent's format
 */
export function makeTorrent(
  blob: BenchBlob,
  extra: { announce?: string; sslAuthorityPem?: string | undefined } = {},
): Torrent {
  const info = {
    name: blob.name,
    length: blob.bytes,
    'piece length': TORRENT_PIECE_BYTES,
    pieces: blob.pieceHashes,
    private: 1,
    'ssl-cert': extra.sslAuthorityPem,
  }
  const file = encodeBencode({ announce: extra.announce, info })
  return { file, infoHash: createHash('sha1').update(encodeBencode(info)).digest() }
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk)
  return hash.digest('hex')
}
