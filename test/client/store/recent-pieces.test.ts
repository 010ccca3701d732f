import { expect, test } from 'vitest'
import {
  type PieceBuffer,
  PieceBuffers,
  RECENT_PIECES_BYTES_MAX,
} from '../../../client/store/piece-buffers.ts'
import { RECENT_BYTES_MAX, RecentPieces } from '../../../client/store/recent-pieces.ts'
import type { PieceIndex } from '../../../core/metainfo.ts'

const MIB = 1024 * 1024
const piece = (index: number) => index as PieceIndex

function setUp() {
  const share = new PieceBuffers().share()
  const take = (mark = 0): PieceBuffer => {
    const buffer = share.acquire(MIB)!
    buffer.bytes[0] = mark
    return buffer
  }
  return { share, recent: new RecentPieces(share), take }
}

test('a verified piece is read from the memory that it arrived in, which is free once the readers are past it', () => {
  const { share, recent, take } = setUp()
  expect(recent.keep(piece(3), take(7), 2)).toBe(true)
  const used = recent.use(piece(3))!
  expect(used.bytes[0]).toBe(7)
  used.done()
  expect(share.heldBytes).toBe(MIB)
  recent.dropBefore(4)
  expect(recent.use(piece(3))).toBe(undefined)
  expect(share.heldBytes).toBe(0)
})

test('memory that a reader is sending is not given back before it has left', () => {
  const { share, recent, take } = setUp()
  recent.keep(piece(0), take(), 0)
  const [one, other] = [recent.use(piece(0))!, recent.use(piece(0))!]
  recent.clear()
  one.done()
  expect(share.heldBytes).toBe(MIB)
  other.done()
  expect(share.heldBytes).toBe(0)
})

test('a piece that is stored again is not read from the memory of its last copy', () => {
  const { share, recent, take } = setUp()
  recent.keep(piece(0), take(1), 0)
  expect(recent.keep(piece(0), take(2), undefined)).toBe(false)
  expect(recent.use(piece(0))).toBe(undefined)
  // The second copy's buffer stays with the caller.
  expect(share.heldBytes).toBe(MIB)
})

test('only so much waits ahead of a reader, and for all readers of the node', () => {
  const { share, recent, take } = setUp()
  expect(recent.keep(piece(0), take(), undefined)).toBe(false)
  expect(recent.keep(piece(0), take(), 1)).toBe(false)
  expect(recent.keep(piece(1 + RECENT_BYTES_MAX / MIB), take(), 1)).toBe(false)
  const blobs = Array.from({ length: 8 }, () => new RecentPieces(share))
  const kept = blobs.flatMap((blob) =>
    Array.from({ length: 4 }, (_, index) => blob.keep(piece(index), take(), 0)),
  )
  expect(kept.filter(Boolean)).toHaveLength(RECENT_PIECES_BYTES_MAX / MIB)
  for (const blob of blobs) blob.clear()
  expect(blobs[0]!.keep(piece(0), take(), 0)).toBe(true)
})
