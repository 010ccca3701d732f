import { describe, expect, test } from 'vitest'
import { PUSH_REWINDS_MAX, PushedCopy, type PushedCopyParts } from '../../../client/store/pushed-copy.ts'
import { JoinedChunks } from '../../../core/joined-chunks.ts'

const MIB = 1024 * 1024

/** A copy whose file is a list of what was written. */
function makeCopy() {
  const written: { position: number; bytes: Uint8Array }[] = []
  const dropped: unknown[] = []
  const inFlight = { bytes: 0 }
  const parts = {
    verifier: {
      write: async (_file: unknown, bytes: Uint8Array, position: number) => {
        written.push({ position, bytes })
      },
      beginWhole: () => 1,
      advanceWhole: async () => undefined,
      endWhole: async () => 'a'.repeat(64),
      sha256OfPieces: async () => Buffer.alloc(32),
    },
    createFile: async () => ({ file: { bytes: 0 } }),
    reserve: async () => undefined,
    release: () => undefined,
    discard: async () => undefined,
    inFlight,
    onDropped: (reason: unknown) => dropped.push(reason),
  }
  return { copy: new PushedCopy(parts as unknown as PushedCopyParts), written, dropped, inFlight }
}

describe('the copy of a push', () => {
  test('is what it was when it was sealed, whatever the client goes on to send', async () => {
    const { copy, written } = makeCopy()
    copy.append(Buffer.alloc(3 * MIB, 1))
    const sealing = copy.seal()
    copy.rewind(0)
    copy.append(Buffer.alloc(2 * MIB, 2))
    expect(await sealing).toMatchObject({ bytes: 3 * MIB })
    copy.rewind(0)
    copy.append(Buffer.alloc(2 * MIB, 2))
    await new Promise((resolve) => setImmediate(resolve))
    expect(written.flatMap(({ bytes }) => [...new Set(bytes)])).not.toContain(2)
    expect(copy.bytes).toBe(3 * MIB)
  })

  test('is given up when what is on disk is sent anew again and again: each time the whole is hashed', () => {
    const { copy, dropped } = makeCopy()
    for (let time = 0; time < PUSH_REWINDS_MAX; time += 1) {
      copy.append(Buffer.alloc(2 * MIB))
      copy.rewind(MIB)
    }
    expect(dropped).toEqual([])
    copy.append(Buffer.alloc(2 * MIB))
    copy.rewind(MIB)
    expect(dropped).toEqual(['too much was sent again'])
  })

  test('counts what waits for the disk, in chunks of any length', async () => {
    const { copy, inFlight, written } = makeCopy()
    for (let sent = 0; sent < MIB + 100; sent += 1) copy.append(Buffer.of(sent & 255))
    expect(inFlight.bytes).toBe(MIB + 100)
    await copy.seal()
    expect(inFlight.bytes).toBe(0)
    const all = Buffer.concat(written.map(({ bytes }) => bytes))
    expect(all.equals(Buffer.from(Array.from({ length: MIB + 100 }, (_, at) => at & 255)))).toBe(true)
  })
})

test('chunks of one byte cost memory for their bytes, not for their number', () => {
  const chunks = new JoinedChunks()
  const before = process.memoryUsage().external
  const one = new Uint8Array(1)
  for (let count = 0; count < 512 * 1024; count += 1) chunks.add(one)
  expect(chunks.bytes).toBe(512 * 1024)
  expect(process.memoryUsage().external - before).toBeLessThan(2 * MIB)
  expect(chunks.take().length).toBe(512 * 1024)
  expect([chunks.bytes, chunks.take().length]).toEqual([0, 0])
})
