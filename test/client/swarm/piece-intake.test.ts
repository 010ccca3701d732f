import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { BlobStore } from '../../../client/store/blob-store.ts'
import { PieceBuffers } from '../../../client/store/piece-buffers.ts'
import { openPieceStream, type StreamedPiece } from '../../../client/store/piece-stream.ts'
import { SlowWrites } from '../../../client/store/slow-writes.ts'
import { QUIET_MS, Verifier } from '../../../client/store/verifier.ts'
import { AnnounceablePieces } from '../../../client/swarm/announceable-pieces.ts'
import { Announcements } from '../../../client/swarm/announcements.ts'
import { DigestCheck } from '../../../client/swarm/digest-check.ts'
import { PieceIntake } from '../../../client/swarm/piece-intake.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { HashBatch } from '../../../core/hash-batch.ts'
import type { PieceIndex, SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'
import { noteDefects } from '../../core/noted-defects.ts'

const PIECE_BYTES = 256 * 1024
const PIECE = 1 as PieceIndex
const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close()
})

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()

/** The intake of a blob of four pieces, with a real store and a real verifying thread. */
async function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-intake-'))
  opened.push({ close: () => rmSync(folder, { recursive: true, force: true }) })
  const store = await BlobStore.open(join(folder, 'blobs'), 100 * PIECE_BYTES)
  opened.push(store)
  const hex = randomBytes(32).toString('hex')
  const { created: stored } = await store.create(
    {
      swarm: hex.slice(0, 40) as SwarmId,
      key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex(hex) },
      bytes: 4 * PIECE_BYTES,
      repository: 'team/app' as Repository,
    },
    () => false,
  )
  const verifier = new Verifier(noteDefects().defects)
  opened.push(verifier)
  const announced: PieceIndex[] = []
  const intake = new PieceIntake({
    stored,
    verifier,
    digestCheck: new DigestCheck(verifier, stored, { isAudit: false }),
    pieces: new AnnounceablePieces(stored),
    announcements: new Announcements((_, pieces) => void announced.push(...pieces)),
  })
  const incoming = (bytes: Uint8Array) => ({
    piece: PIECE,
    buffer: { bytes: Uint8Array.from(bytes), pieceBytes: PIECE_BYTES, isSecond: false },
    length: bytes.length,
  })
  const learn = (hash: Buffer, differences: Partial<HashBatch> = {}) =>
    intake.learn({
      swarm: stored.swarm,
      epoch: 0,
      status: 'claimed',
      firstPiece: PIECE,
      hashes: hash,
      signature: randomBytes(64),
      ...differences,
    })
  const onDisk = () => {
    const bytes = Buffer.alloc(PIECE_BYTES)
    readSync(stored.file.fd, bytes, 0, PIECE_BYTES, PIECE * PIECE_BYTES)
    return bytes
  }
  const afterTurn = () => new Promise(setImmediate)
  const stream = () =>
    openPieceStream(
      { stored, buffers: new PieceBuffers().share(), verifier, slowWrites: new SlowWrites() },
      PIECE,
    )!
  return { stream, stored, intake, announced, incoming, learn, onDisk, afterTurn, verifier }
}

test("a peer's piece that has its signed hash is written, kept and announced", async () => {
  const { stored, intake, announced, incoming, learn, onDisk, afterTurn } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  expect(await intake.fromPeer(incoming(bytes))).toBe('kept')
  expect(stored.have.has(PIECE)).toBe(true)
  expect(onDisk()).toEqual(bytes)
  await afterTurn()
  expect(announced).toEqual([PIECE])
  expect(await intake.fromPeer(incoming(bytes))).toBe('known')
})

test("a peer's piece with another hash is not written, and one without a known hash is not looked at", async () => {
  const { stored, intake, announced, incoming, learn, onDisk, afterTurn } = await setUp()
  expect(await intake.fromPeer(incoming(randomBytes(PIECE_BYTES)))).toBe('unhashed')
  learn(randomBytes(32))
  expect(await intake.fromPeer(incoming(randomBytes(PIECE_BYTES)))).toBe('wrong')
  expect(stored.have.has(PIECE)).toBe(false)
  expect(onDisk()).toEqual(Buffer.alloc(PIECE_BYTES))
  await afterTurn()
  expect(announced).toEqual([])
})

test("a peer's piece is not kept when the epoch rises while it is written", async () => {
  const { stored, intake, incoming, learn } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const taking = intake.fromPeer(incoming(bytes))
  learn(randomBytes(32), { epoch: 1 })
  expect(await taking).toBe('unhashed')
  expect(stored.have.has(PIECE)).toBe(false)
})

test("the registry's piece is kept without a hash, and announced once its signed hash is known", async () => {
  const { stored, intake, announced, incoming, learn, afterTurn } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  expect(await intake.fromRegistry(incoming(bytes))).toEqual({ outcome: 'kept', hash: sha256(bytes) })
  expect(stored.have.has(PIECE)).toBe(true)
  await afterTurn()
  expect(announced).toEqual([])
  learn(sha256(bytes))
  await afterTurn()
  expect(announced).toEqual([PIECE])
})

test("the registry's piece may differ from a claimed hash, and not from one that two nodes vouched for", async () => {
  const claimed = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  claimed.learn(randomBytes(32))
  expect((await claimed.intake.fromRegistry(claimed.incoming(bytes))).outcome).toBe('kept')
  await claimed.afterTurn()
  expect(claimed.announced).toEqual([])
  const confirmed = await setUp()
  confirmed.learn(randomBytes(4 * 32), { status: 'confirmed', firstPiece: 0 })
  expect((await confirmed.intake.fromRegistry(confirmed.incoming(bytes))).outcome).toBe('wrong')
  expect(confirmed.stored.have.has(PIECE)).toBe(false)
})

const BLOCK_BYTES = 128 * 1024
function writeAll(stream: StreamedPiece, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES)
    stream.write(at, bytes.subarray(at, at + BLOCK_BYTES))
}

test('a piece that was written as it arrived is kept when it has its signed hash, and not before', async () => {
  const { stored, intake, stream, learn, announced, onDisk, afterTurn } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  const early = stream()
  writeAll(early, bytes)
  expect(await intake.fromStream(early)).toBe('unhashed')
  early.end()
  learn(sha256(bytes))
  const wrong = stream()
  writeAll(wrong, randomBytes(PIECE_BYTES))
  expect(await intake.fromStream(wrong)).toBe('wrong')
  wrong.end()
  expect(stored.have.has(PIECE)).toBe(false)
  const right = stream()
  writeAll(right, bytes)
  expect(stored.have.has(PIECE)).toBe(false)
  expect(await intake.fromStream(right)).toBe('kept')
  right.end()
  expect(onDisk()).toEqual(bytes)
  await afterTurn()
  expect(announced).toEqual([PIECE])
  expect(stored.writes.size).toBe(0)
})

test('work that no pull waits for waits after a piece that was written as it arrived, too', async () => {
  const { intake, stream, learn, verifier } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const piece = stream()
  writeAll(piece, bytes)
  expect(await intake.fromStream(piece)).toBe('kept')
  piece.end()
  const beganAtMs = performance.now()
  await verifier.whenQuiet(async () => undefined)
  expect(performance.now() - beganAtMs).toBeGreaterThan(QUIET_MS / 2)
})

test('a second copy that is right replaces the stream, whose late block changes nothing', async () => {
  const { stored, intake, stream, incoming, learn, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const slow = stream()
  const junk = randomBytes(PIECE_BYTES)
  slow.write(0, junk.subarray(0, BLOCK_BYTES))
  const taking = intake.fromPeer(incoming(bytes))
  expect(await taking).toBe('kept')
  slow.write(BLOCK_BYTES, junk.subarray(BLOCK_BYTES))
  expect(await intake.fromStream(slow)).toBe('known')
  slow.end()
  expect(onDisk()).toEqual(bytes)
  expect(stored.writes.size).toBe(0)
})

test('a second copy that is wrong leaves the stream alone', async () => {
  const { intake, stream, incoming, learn, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const slow = stream()
  slow.write(0, bytes.subarray(0, BLOCK_BYTES))
  expect(await intake.fromPeer(incoming(randomBytes(PIECE_BYTES)))).toBe('wrong')
  slow.write(BLOCK_BYTES, bytes.subarray(BLOCK_BYTES))
  expect(await intake.fromStream(slow)).toBe('kept')
  expect(onDisk()).toEqual(bytes)
})

test('a second copy is written when the stream it waited for was wrong or gave up', async () => {
  const { intake, stream, incoming, learn, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const lost = stream()
  lost.write(0, randomBytes(BLOCK_BYTES))
  const taking = intake.fromPeer(incoming(bytes))
  lost.end()
  expect(await taking).toBe('kept')
  expect(onDisk()).toEqual(bytes)
})

test("of two copies that arrive at the same moment one is kept, whoever's they are", async () => {
  const { stored, intake, incoming, learn, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  const all = [
    intake.fromPeer(incoming(bytes)),
    intake.fromRegistry(incoming(bytes)),
    intake.fromPeer(incoming(bytes)),
  ]
  const outcomes = (await Promise.all(all)).map((taken) =>
    typeof taken === 'string' ? taken : taken.outcome,
  )
  expect(outcomes).toEqual(['kept', 'known', 'known'])
  expect(onDisk()).toEqual(bytes)
  expect(stored.writes.size).toBe(0)
})

test('a readable piece is not written again: not by other bytes of the registry either', async () => {
  const { intake, incoming, learn, onDisk } = await setUp()
  const bytes = randomBytes(PIECE_BYTES)
  learn(sha256(bytes))
  await intake.fromPeer(incoming(bytes))
  const other = randomBytes(PIECE_BYTES)
  expect(await intake.fromRegistry(incoming(other))).toEqual({ outcome: 'known', hash: sha256(other) })
  expect(onDisk()).toEqual(bytes)
})
