import { createHash } from 'node:crypto'
import type { Digest } from './digest.ts'
import { InvalidInputError } from './errors.ts'
import { type RegistryHost, scopeOf } from './repository.ts'

declare const checked: unique symbol

/** 40 lower-case hex digits: the swarm's permanent id, its info-hash and the SNI between Shoal peers. */
export type SwarmId = string & { readonly [checked]: 'SwarmId' }
/** 40 lower-case hex digits: what two peers call the swarm, its id or the alias of stock clients (core/torrent.ts). */
export type InfoHash = string & { readonly [checked]: 'SwarmId' | 'InfoHash' }
/** 40 lower-case hex digits: first 20 bytes of SHA-256 of the node key's SubjectPublicKeyInfo; also its peer id. */
export type NodeId = string & { readonly [checked]: 'NodeId' }
/** A cluster's id: `c` and 16 lower-case hex digits. */
export type ClusterId = string & { readonly [checked]: 'ClusterId' }
/** A piece index known to be below this torrent's piece count. */
export type PieceIndex = number & { readonly [checked]: 'PieceIndex' }

const HEX40 = /^[0-9a-f]{40}$/
const CLUSTER_ID = /^c[0-9a-f]{16}$/

export const isSwarmId = (text: string): text is SwarmId => HEX40.test(text)
export const isInfoHash = (text: string): text is InfoHash => HEX40.test(text)
export const isNodeId = (text: string): text is NodeId => HEX40.test(text)
export const isClusterId = (text: string): text is ClusterId => CLUSTER_ID.test(text)

/** Bytes of SHA-256 per piece in hash batches. */
export const PIECE_HASH_BYTES = 32
const PIECES_AIMED_AT = 128
/** Smaller pieces cost more in hashes and messages than they gain in spreading. */
export const PIECE_BYTES_MIN = 256 * 1024
/** With larger pieces a node waits long before it can pass anything on, and needs more memory. */
export const PIECE_BYTES_MAX = 4 * 1024 * 1024
/** Larger blobs are not swarmed: with 2^18 pieces of 4 MiB every bitfield fits one frame (32 KiB). */
export const BLOB_BYTES_MAX = PIECE_BYTES_MAX * 2 ** 18

/** The parts of a swarm's id: one blob of one registry in one cluster. Lengths in bytes. */
export interface SwarmKey {
  cluster: ClusterId
  registry: RegistryHost
  /** Of the registry's API (repository.ts). */
  apiPath?: string | undefined
  digest: Digest
  bytes: number
}

/**
 * Piece length in bytes: the next power of two of size/128, clamped to 256 KiB and 4 MiB. It depends only on the size, so
 * that every node computes the same length without asking.
 */
function pieceBytesFor(blobBytes: number): number {
  if (!Number.isSafeInteger(blobBytes) || blobBytes < 1 || blobBytes > BLOB_BYTES_MAX) {
    throw new InvalidInputError(`a blob of ${blobBytes} bytes cannot be swarmed`)
  }
  const aimed = 2 ** Math.ceil(Math.log2(blobBytes / PIECES_AIMED_AT))
  return Math.min(PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, aimed))
}

/** The pieces of a blob. Piece `i` covers bytes [i * pieceBytes, i * pieceBytes + pieceBytesAt(i)). */
export interface PieceLayout {
  readonly blobBytes: number
  readonly pieceBytes: number
  readonly pieceCount: number
}

export function pieceLayout(blobBytes: number): PieceLayout {
  const pieceBytes = pieceBytesFor(blobBytes)
  return { blobBytes, pieceBytes, pieceCount: Math.ceil(blobBytes / pieceBytes) }
}

export function* allPieces(layout: PieceLayout): Generator<PieceIndex> {
  for (let piece = 0; piece < layout.pieceCount; piece++) yield piece as PieceIndex
}

/** Bytes of piece `index`: all are `pieceBytes` but the last. */
export function pieceBytesAt(layout: PieceLayout, index: PieceIndex): number {
  return Math.min(layout.pieceBytes, layout.blobBytes - index * layout.pieceBytes)
}

/** Truncated SHA-256 (20 bytes) of cluster, registry (with its API's path), digest, length and piece length. */
export function swarmIdOf(key: SwarmKey): SwarmId {
  const text = [
    'shoal-swarm-v1',
    key.cluster,
    scopeOf({ host: key.registry, apiPath: key.apiPath }),
    key.digest,
    key.bytes,
    pieceBytesFor(key.bytes),
  ].join('\n')
  return createHash('sha256').update(text).digest('hex').slice(0, 40) as SwarmId
}

/** @param spki DER of the node key's SubjectPublicKeyInfo */
export function nodeIdOf(spki: Uint8Array): NodeId {
  return createHash('sha256').update(spki).digest('hex').slice(0, 40) as NodeId
}
