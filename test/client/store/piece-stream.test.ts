import { createHash, randomBytes } from 'node:crypto'
import { fstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { CacheKey, UNIT_BYTES } from '../../../client/store/blob-cipher.ts'
import { readFileSync as readBlobFileSync } from '../../../client/store/blob-file.ts'
import { BlobStore } from '../../../client/store/blob-store.ts'
import { PIECE_BUFFERS_BYTES_MAX, PieceBuffers } from '../../../client/store/piece-buffers.ts'
import { openPieceStream, type StreamedPiece } from '../../../client/store/piece-stream.ts'
import { SLOW_WRITE_MS, SlowWrites } from '../../../client/store/slow-writes.ts'
import { Verifier } from '../../../client/store/verifier.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { PieceIndex, SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** A real store and a real verifying thread. */
const PIECE_BYTES = 256 * 1024
/** Its last piece ends in the middle of a unit. */
const BLOB_BYTES = 4 * PIECE_BYTES - 1000
const PIECE = 1 as PieceIndex
const LAST = 3 as PieceIndex

const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close()
})

async function setUp({ cacheKey }: { cacheKey?: CacheKey } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-stream-'))
  opened.push({ close: () => rmSync(folder, { recursive: true, force: true }) })
  const store = await BlobStore.open(join(folder, 'blobs'), 100 * PIECE_BYTES, cacheKey)
  opened.push(store)
  const hex = randomBytes(32).toString('hex')
  const { created: stored } = await store.create(
    {
      swarm: hex.slice(0, 40) as SwarmId,
      key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex(hex) },
      bytes: BLOB_BYTES,
      repository: 'team/app' as Repository,
    },
    () => false,
  )
  const verifier = new Verifier(noteDefects().defects)
  opened.push(verifier)
  const buffers = new PieceBuffers().share()
  const slowWrites = new SlowWrites()
  const open = (piece = PIECE) => openPieceStream({ stored, buffers, verifier, slowWrites }, piece)
  const onDisk = (piece = PIECE, length = PIECE_BYTES) => {
    const target = Buffer.alloc(length)
    readBlobFileSync(stored.file, { target, at: 0, length, position: piece * PIECE_BYTES })
    return target
  }
  const raw = () => readFileSync(join(folder, 'blobs', stored.swarm, 'data'))
  return { store, stored, buffers, slowWrites, open, onDisk, raw }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** All blocks through one reused buffer, as a link does it. */
function writeAll(
  stream: StreamedPiece,
  bytes: Buffer,
  order = [...Array(Math.ceil(bytes.length / UNIT_BYTES)).keys()],
) {
  const block = Buffer.alloc(UNIT_BYTES)
  for (const at of order) {
    const part = bytes.subarray(at * UNIT_BYTES, (at + 1) * UNIT_BYTES)
    part.copy(block)
    stream.write(at * UNIT_BYTES, block.subarray(0, part.length))
  }
}

test('blocks in order are hashed and in the file at once', async () => {
  const { stored, open, onDisk, buffers } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const stream = open()!
  expect(buffers.heldBytes).toBe(PIECE_BYTES)
  writeAll(stream, bytes)
  expect(onDisk()).toEqual(bytes)
  expect(stored.have.count).toBe(0)
  expect(await stream.hash()).toBe(sha256(bytes))
  expect(stream.mayBeRead).toBe(true)
  stream.end()
  stream.end()
  expect(buffers.heldBytes).toBe(0)
  expect(stored.writes.size).toBe(0)
})

test('blocks in another order are hashed as they are in the file', async () => {
  const { open, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const stream = open()!
  writeAll(stream, bytes, [1, 0])
  expect(await stream.hash()).toBe(sha256(bytes))
  expect(onDisk()).toEqual(bytes)
  expect(stream.mayBeRead).toBe(true)
})

test("a blob's last piece ends where the blob ends", async () => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const { open, onDisk } = await setUp()
    const bytes = randomBytes(PIECE_BYTES - 1000)
    const stream = open(LAST)!
    writeAll(stream, bytes, order)
    expect(await stream.hash()).toBe(sha256(bytes))
    expect(onDisk(LAST, bytes.length)).toEqual(bytes)
  }
})

test('where the cache is encrypted, blocks are units of the cipher, and none of their bytes are on the disk', async () => {
  const { open, onDisk, raw } = await setUp({ cacheKey: new CacheKey(randomBytes(32)) })
  for (const [piece, length] of [
    [PIECE, PIECE_BYTES],
    [LAST, PIECE_BYTES - 1000],
  ] as const) {
    const bytes = randomBytes(length)
    const stream = open(piece)!
    writeAll(stream, bytes, [1, 0])
    expect(await stream.hash()).toBe(sha256(bytes))
    expect(onDisk(piece, length)).toEqual(bytes)
    expect(raw().includes(bytes.subarray(0, 64))).toBe(false)
  }
})

test('a late block of an ended stream changes nothing, and the next stream begins the piece again', async () => {
  const { open, onDisk } = await setUp()
  const [lost, bytes] = [randomBytes(PIECE_BYTES), randomBytes(PIECE_BYTES)]
  const first = open()!
  first.write(0, lost.subarray(0, UNIT_BYTES))
  first.end()
  const second = open()!
  writeAll(second, bytes)
  first.write(UNIT_BYTES, lost.subarray(UNIT_BYTES))
  expect(await second.hash()).toBe(sha256(bytes))
  expect(second.mayBeRead).toBe(true)
  expect(onDisk()).toEqual(bytes)
})

test('a stream that a verified copy stopped has no hash, also where only its last block was late', async () => {
  const { stored, open } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const stream = open()!
  stream.write(0, bytes.subarray(0, UNIT_BYTES))
  const writer = await stored.writes.takeOver(PIECE)
  expect(writer).toBeDefined()
  stream.write(UNIT_BYTES, bytes.subarray(UNIT_BYTES))
  expect(await stream.hash()).toBeUndefined()
  expect(stream.mayBeRead).toBe(false)
})

test('while a stream is read back, a verified copy waits', async () => {
  const { stored, open } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const stream = open()!
  writeAll(stream, bytes, [1, 0])
  const hashing = stream.hash()
  let isTaken = false
  const taking = stored.writes.takeOver(PIECE).then(() => {
    isTaken = true
  })
  await new Promise(setImmediate)
  expect(isTaken).toBe(false)
  expect(await hashing).toBe(sha256(bytes))
  await taking
})

test('a disk that refuses a block fails the piece, with the cause, and blocks after it are not tried', async () => {
  const { stored, open } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const stream = open()!
  const { fd } = stored.file
  stored.file.fd = 2 ** 31 - 1
  stream.write(0, bytes.subarray(0, UNIT_BYTES))
  stored.file.fd = fd
  stream.write(UNIT_BYTES, bytes.subarray(UNIT_BYTES))
  await expect(stream.hash()).rejects.toMatchObject({ code: 'EBADF' })
  stream.end()
  expect(stored.writes.size).toBe(0)
})

test('a piece has one stream, and none when it is readable or when enough is on its way', async () => {
  const { stored, buffers, open } = await setUp()
  expect(open()).toBeDefined()
  expect(open()).toBeUndefined()
  stored.have.add(LAST)
  expect(open(LAST)).toBeUndefined()
  while (buffers.heldBytes < PIECE_BUFFERS_BYTES_MAX) buffers.book(PIECE_BYTES)
  expect(open(0 as PieceIndex)).toBeUndefined()
  buffers.unbook(PIECE_BYTES)
  expect(open(0 as PieceIndex)).toBeDefined()
})

test('the file of a removed blob stays open until its streams have ended', async () => {
  const { store, stored, open } = await setUp()
  const stream = open()!
  await store.remove(stored.swarm)
  writeAll(stream, randomBytes(PIECE_BYTES))
  expect(await stream.hash()).toBeDefined()
  stream.end()
  expect(() => stored.pin()).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
})

test('on a slow disk blocks are written off the event loop, and the hash waits for them', async () => {
  const { slowWrites, stored, open, onDisk } = await setUp()
  slowWrites.took(SLOW_WRITE_MS + 1)
  const bytes = randomBytes(PIECE_BYTES)
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const stream = open()!
    writeAll(stream, bytes, order)
    expect(stream.mayBeRead).toBe(false)
    expect(await stream.hash()).toBe(sha256(bytes))
    expect(stream.mayBeRead).toBe(true)
    expect(onDisk()).toEqual(bytes)
    stream.end()
  }
  expect(stored.writes.size).toBe(0)
})

test('what is still being written of an ended stream counts as on its way, and keeps the next one out', async () => {
  const { slowWrites, stored, buffers, open, onDisk } = await setUp()
  slowWrites.took(SLOW_WRITE_MS + 1)
  const stream = open()!
  stream.write(0, randomBytes(UNIT_BYTES))
  stream.end()
  expect(buffers.heldBytes).toBe(PIECE_BYTES)
  expect(open()).toBeUndefined()
  const taking = stored.writes.takeOver(PIECE)
  const writer = await taking
  expect(writer).toBeDefined()
  const late = onDisk()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(onDisk()).toEqual(late)
  expect(buffers.heldBytes).toBe(0)
})

test('a slow disk that refuses a block fails its piece, and a removed blob leaves no file open', async () => {
  const { slowWrites, store, stored, open, buffers } = await setUp()
  slowWrites.took(SLOW_WRITE_MS + 1)
  const stream = open()!
  const { fd } = stored.file
  stored.file.fd = 2 ** 31 - 1
  writeAll(stream, randomBytes(PIECE_BYTES))
  stored.file.fd = fd
  await expect(stream.hash()).rejects.toMatchObject({ code: 'STORE_WRITE' })
  await store.remove(stored.swarm)
  stream.end()
  expect(buffers.heldBytes).toBe(0)
  expect(() => fstatSync(fd)).toThrow(expect.objectContaining({ code: 'EBADF' }))
})

test('a disk that stands still holds up neither the event loop nor memory', async () => {
  const { slowWrites, stored, buffers } = await setUp()
  slowWrites.took(SLOW_WRITE_MS + 1)
  // The disk answers when the test says so.
  const asked: (() => void)[] = []
  const verifier = {
    range: () => Promise.reject(new Error('not here')),
    write: () => new Promise<number>((resolve) => asked.push(() => resolve(5_000))),
  }
  const streams: StreamedPiece[] = []
  const startedAtMs = performance.now()
  for (let piece = 0; piece < 4; piece++) {
    const stream = openPieceStream({ stored, buffers, verifier, slowWrites }, piece as PieceIndex)!
    writeAll(stream, randomBytes(PIECE_BYTES))
    streams.push(stream)
  }
  expect(performance.now() - startedAtMs).toBeLessThan(1_000)
  // Sources that give up free nothing while their blocks wait: nothing new is asked for.
  for (const stream of streams) stream.end()
  expect(buffers.heldBytes).toBe(4 * PIECE_BYTES)
  for (const answer of asked) answer()
  await new Promise(setImmediate)
  expect(buffers.heldBytes).toBe(0)
  expect(slowWrites.isSlow).toBe(true)
})
