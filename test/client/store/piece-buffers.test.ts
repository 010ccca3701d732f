import { describe, expect, it } from 'vitest'
import {
  PIECE_BUFFERS_BYTES_MAX,
  type PieceBuffer,
  type PieceBufferShare,
  PieceBuffers,
  SECOND_COPIES_BYTES_MAX,
} from '../../../client/store/piece-buffers.ts'

const MIB = 1024 * 1024
const ALL = PIECE_BUFFERS_BYTES_MAX / MIB

let nowMs = 0
const makeBuffers = () => new PieceBuffers(() => nowMs)

/** Takes until none is to be had. */
function takeAll(share: PieceBufferShare, pieceBytes = MIB, most = Number.POSITIVE_INFINITY): PieceBuffer[] {
  const taken: PieceBuffer[] = []
  while (taken.length < most) {
    const buffer = share.acquire(pieceBytes)
    if (!buffer) return taken
    taken.push(buffer)
  }
  return taken
}

/** A downloading blob: whatever is free again it takes at once. */
function turnOver(share: PieceBufferShare, held: PieceBuffer[]): void {
  for (let at = held.length; at > 0; at -= 1) {
    share.release(held.shift()!)
    const next = share.acquire(MIB)
    if (next) held.push(next)
  }
}

describe('piece buffers', () => {
  it('are all for one blob while no other wants any', () => {
    const buffers = makeBuffers()
    const [one, other] = [buffers.share(), buffers.share()]
    const [small] = takeAll(other, MIB, 1)
    expect(takeAll(one)).toHaveLength(ALL - 1)
    other.release(small!)
    expect(takeAll(one)).toHaveLength(1)
  })

  it('go to a third blob in equal parts when two have them all', () => {
    const buffers = makeBuffers()
    const shares = [buffers.share(), buffers.share(), buffers.share()] as const
    const held = [takeAll(shares[0], MIB, ALL / 2), takeAll(shares[1]), takeAll(shares[2])]
    expect(held.map(({ length }) => length)).toEqual([ALL / 2, ALL / 2, 0])
    for (let round = 0; round < 100; round += 1) {
      nowMs += 250
      held[2]!.push(...takeAll(shares[2]))
      turnOver(shares[0], held[0]!)
      turnOver(shares[1], held[1]!)
    }
    const part = Math.floor(ALL / 3)
    for (const { length } of held) expect(length).toBeGreaterThanOrEqual(part)
  })

  it('are not reserved for a blob that has stopped asking', () => {
    const buffers = makeBuffers()
    const [one, other] = [buffers.share(), buffers.share()]
    const held = takeAll(one)
    expect(other.acquire(MIB)).toBeUndefined()
    one.release(held.pop()!)
    expect(one.acquire(MIB)).toBeUndefined()
    nowMs += 1_000
    expect(one.acquire(MIB)).toBeDefined()
  })

  it('are not reserved for a blob that has an equal part already', () => {
    const buffers = makeBuffers()
    const [one, other, small] = [buffers.share(), buffers.share(), buffers.share()]
    takeAll(small, MIB, 1)
    takeAll(one, MIB, 25)
    takeAll(other, MIB, 30)
    const big = takeAll(buffers.share(), MIB, 8)
    expect(big).toHaveLength(8)
    // All that is left is taken, though two blobs wait for more.
    expect(one.acquire(MIB)).toBeUndefined()
    expect(other.acquire(MIB)).toBeUndefined()
    small.release({ bytes: new Uint8Array(MIB), pieceBytes: MIB, isSecond: false })
    expect(one.acquire(MIB)).toBeDefined()
  })

  it('wake a waiting blob, which comes first now', async () => {
    const buffers = makeBuffers()
    const [one, other] = [buffers.share(), buffers.share()]
    const held = takeAll(one)
    const waiting = other.whenFree(MIB, new AbortController().signal)
    one.release(held.pop()!)
    expect(one.acquire(MIB)).toBeUndefined()
    expect((await waiting).bytes).toHaveLength(MIB)
    expect(other.heldBytes).toBe(MIB)
  })

  it('hold second copies up to their own bound, whatever else is free', () => {
    const share = makeBuffers().share()
    const second = () => share.acquire(MIB, { isSecond: true })
    const held = Array.from({ length: SECOND_COPIES_BYTES_MAX / MIB }, second)
    expect(held).not.toContain(undefined)
    expect(second()).toBeUndefined()
    expect(share.acquire(MIB)).toBeDefined()
    share.release(held[0]!)
    expect(second()).toBeDefined()
    expect(second()).toBeUndefined()
  })

  it('count pieces that have no memory, in the same bound and the same shares', () => {
    const buffers = makeBuffers()
    const [one, other] = [buffers.share(), buffers.share()]
    while (one.book(MIB));
    expect(one.heldBytes).toBe(PIECE_BUFFERS_BYTES_MAX)
    expect(other.book(MIB)).toBe(false)
    one.unbook(MIB)
    expect(one.book(MIB)).toBe(false)
    expect(other.acquire(MIB)).toBeDefined()
  })

  it('give memory that is not in use back for pieces that have none', () => {
    const share = makeBuffers().share()
    for (const buffer of takeAll(share)) share.release(buffer)
    while (share.book(MIB));
    expect(share.heldBytes).toBe(PIECE_BUFFERS_BYTES_MAX)
    expect(share.acquire(MIB)).toBeUndefined()
  })
})
