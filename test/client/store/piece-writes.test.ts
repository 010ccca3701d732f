import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { type PieceWriter, PieceWrites } from '../../../client/store/piece-writes.ts'
import type { PieceIndex } from '../../../core/metainfo.ts'

const PIECE = 3 as PieceIndex
const STREAM = { isStream: true }
const WHOLE = { isStream: false }

function setUp() {
  const readable = new Set<PieceIndex>()
  const writes = new PieceWrites((piece) => readable.has(piece))
  const stream = () => writes.begin(PIECE, STREAM)
  /** A take-over, and whether it has been decided. */
  const takeOver = () => {
    const taking = { isDecided: false, writer: undefined as PieceWriter | undefined }
    void writes.takeOver(PIECE).then((writer) => Object.assign(taking, { isDecided: true, writer }))
    return taking
  }
  return { readable, writes, stream, takeOver }
}
const afterTurn = () => new Promise(setImmediate)

describe('the writer of a piece', () => {
  it('is one at a time, each piece by itself', () => {
    const { writes, stream } = setUp()
    expect(stream()).toBeDefined()
    expect(stream()).toBeUndefined()
    expect(writes.begin(PIECE, WHOLE)).toBeUndefined()
    expect(writes.begin(4 as PieceIndex, STREAM)).toBeDefined()
  })

  it('is followed by another when it ends, which may begin at once', () => {
    const { writes, stream } = setUp()
    const first = stream()!
    writes.end(first)
    expect(writes.writeBegins(first)).toBe(false)
    const second = stream()!
    expect(writes.writeBegins(second)).toBe(true)
    // Ending twice does not end the next one.
    writes.end(first)
    expect(writes.writeBegins(second)).toBe(true)
  })

  it('has nobody begin while a write of the last one is in flight, which would overwrite the next copy', () => {
    const { writes, stream } = setUp()
    const first = stream()!
    writes.writeBegins(first)
    writes.end(first)
    expect(stream()).toBeUndefined()
    writes.writeEnds(first)
    expect(stream()).toBeDefined()
  })

  it('may not make the piece readable while a write of its own is in flight', () => {
    const { writes, stream } = setUp()
    const writer = stream()!
    writes.writeBegins(writer)
    writes.writeBegins(writer)
    writes.writeEnds(writer)
    expect(writes.mayBeRead(writer)).toBe(false)
    writes.writeEnds(writer)
    expect(writes.mayBeRead(writer)).toBe(true)
  })

  it('may not make the piece readable after its end, or after another one', () => {
    const { writes, stream } = setUp()
    const first = stream()!
    writes.end(first)
    expect(writes.mayBeRead(first)).toBe(false)
    const second = stream()!
    expect(writes.mayBeRead(first)).toBe(false)
    expect(writes.mayBeRead(second)).toBe(true)
  })

  it('writes nothing once the piece is readable', () => {
    const { readable, writes, stream } = setUp()
    const writer = stream()!
    readable.add(PIECE)
    expect(writes.writeBegins(writer)).toBe(false)
    writes.end(writer)
    expect(stream()).toBeUndefined()
  })
})

describe('a copy in memory', () => {
  it('stops a stream that has no write in flight', async () => {
    const { writes, stream, takeOver } = setUp()
    const stopped = stream()!
    const taking = takeOver()
    await afterTurn()
    expect(taking.writer).toBeDefined()
    expect(writes.writeBegins(stopped)).toBe(false)
    expect(writes.mayBeRead(stopped)).toBe(false)
  })

  it("waits for the stream's writes in flight, and the stream begins no more of them", async () => {
    const { writes, stream, takeOver } = setUp()
    const stopped = stream()!
    writes.writeBegins(stopped)
    const taking = takeOver()
    await afterTurn()
    expect(taking.isDecided).toBe(false)
    expect(writes.writeBegins(stopped)).toBe(false)
    writes.writeEnds(stopped)
    await afterTurn()
    expect(taking.writer).toBeDefined()
  })

  it('waits for the end of another whole copy, and is not needed when that made the piece readable', async () => {
    for (const isRight of [true, false]) {
      const { readable, writes, takeOver } = setUp()
      const first = writes.begin(PIECE, WHOLE)!
      writes.writeBegins(first)
      const taking = takeOver()
      await afterTurn()
      expect(taking.isDecided).toBe(false)
      writes.writeEnds(first)
      expect(writes.mayBeRead(first)).toBe(true)
      if (isRight) readable.add(PIECE)
      writes.end(first)
      await afterTurn()
      expect(taking).toMatchObject({ isDecided: true })
      expect(taking.writer !== undefined).toBe(!isRight)
    }
  })

  it('comes after others that waited with it, one at a time', async () => {
    const { writes, stream, takeOver } = setUp()
    const stopped = stream()!
    writes.writeBegins(stopped)
    const all = [takeOver(), takeOver(), takeOver()]
    writes.writeEnds(stopped)
    for (const _ of all) {
      await afterTurn()
      const [writer, ...others] = all.flatMap((taking) => taking.writer ?? [])
      expect(others).toEqual([])
      expect(writes.writeBegins(writer!)).toBe(true)
      writes.writeEnds(writer!)
      writes.end(writer!)
      for (const taking of all) if (taking.writer === writer) taking.writer = undefined
    }
    expect(writes.size).toBe(0)
  })

  it('leaves a readable piece alone', async () => {
    const { readable, takeOver } = setUp()
    readable.add(PIECE)
    const taking = takeOver()
    await afterTurn()
    expect(taking).toEqual({ isDecided: true, writer: undefined })
  })
})

const BLOCKS = 3
/** One copy on its way: `seed` makes its content, and a few of them are right. */
interface Copy {
  id: number
  isRight: boolean
  writer: PieceWriter | undefined
  begun: number
  inFlight: number[]
}

/**
 * Copies of one piece, right and wrong, streamed and whole, whose writes begin and end in any order, on a file of a few
 * blocks. The file shows a write when it ends.
 */
test('whatever the order, a readable piece holds one right copy, stays so, and nothing is left behind', async () => {
  const step = fc.record({ what: fc.nat(5), which: fc.nat(5), isRight: fc.boolean(), at: fc.nat(BLOCKS) })
  let becameReadable = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const readable = new Set<PieceIndex>()
      const writes = new PieceWrites((piece) => readable.has(piece))
      const file = new Array<number>(BLOCKS).fill(-1)
      let copies: Copy[] = []
      let held: number[] | undefined
      const rightIds = new Set<number>()
      let ids = 0
      const newCopy = (isRight: boolean, writer?: PieceWriter): Copy => {
        ids += 1
        if (isRight) rightIds.add(ids)
        const copy = { id: ids, isRight, writer, begun: 0, inFlight: [] }
        copies.push(copy)
        return copy
      }
      const endOne = (copy: Copy, at: number) => {
        const [block] = copy.inFlight.splice(at % copy.inFlight.length, 1)
        file[block!] = copy.id
        writes.writeEnds(copy.writer!)
      }
      const finish = (copy: Copy) => {
        if (copy.begun === BLOCKS && copy.isRight && writes.mayBeRead(copy.writer!) && !readable.has(PIECE)) {
          readable.add(PIECE)
          held = [...file]
          becameReadable += 1
        }
        writes.end(copy.writer!)
      }
      for (const { what, which, isRight, at } of steps) {
        const copy = copies[which % Math.max(1, copies.length)]
        if (what === 0) {
          const writer = writes.begin(PIECE, { isStream: at > 0 })
          if (writer) newCopy(isRight, writer)
        } else if (what === 1) {
          // Only verified copies, and those of the registry, take over.
          const taken = newCopy(true)
          void writes.takeOver(PIECE).then((writer) => {
            taken.writer = writer
            if (!writer) copies = copies.filter((other) => other !== taken)
          })
        } else if (copy?.writer && what <= 3) {
          if (copy.begun < BLOCKS && writes.writeBegins(copy.writer)) {
            copy.inFlight.push(copy.begun)
            copy.begun += 1
          }
        } else if (copy?.writer && what === 4) {
          if (copy.inFlight.length > 0) endOne(copy, at)
        } else if (copy?.writer) finish(copy)
        for (let turn = 0; turn < at; turn++) await Promise.resolve()
        const busy = copies.filter(({ inFlight }) => inFlight.length > 0)
        expect(busy.length).toBeLessThanOrEqual(1)
        if (held) expect(file).toEqual(held)
        if (held) expect(rightIds.has(held[0]!) && held.every((id) => id === held![0])).toBe(true)
      }
      for (let round = 0; round < 2 + ids; round++) {
        for (const copy of copies) {
          while (copy.inFlight.length > 0) endOne(copy, 0)
          if (copy.writer) finish(copy)
        }
        await afterTurn()
      }
      expect(writes.size).toBe(0)
    }),
    { numRuns: 2_000 },
  )
  expect(becameReadable).toBeGreaterThan(20)
})
