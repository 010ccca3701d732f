import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BlobStore, type StoredBlob } from '../../../client/store/blob-store.ts'
import { Verifier } from '../../../client/store/verifier.ts'
import { digestFromHex } from '../../../core/digest.ts'
import { allPieces, type PieceIndex, type SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'
import { noteDefects } from '../../core/noted-defects.ts'

/** A killed node: nobody closes the first store. The bytes on disk may then be what a failed machine left. */
const PIECE_BYTES = 256 * 1024
const BYTES = 4 * PIECE_BYTES - 1000
let folder: string
let verifier: Verifier
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-unclean-'))
  verifier = new Verifier(noteDefects().defects)
})
afterEach(async () => {
  await verifier.close()
  rmSync(folder, { recursive: true, force: true })
})

const open = () => BlobStore.open(join(folder, 'blobs'), 100 * PIECE_BYTES)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
const stateOf = ({ swarm }: StoredBlob) =>
  JSON.parse(readFileSync(join(folder, 'blobs', swarm, 'state.json'), 'utf8'))

/** A blob with all its pieces, saved as while a node runs. */
async function setUp({ isMatched = true, hashed = 4 } = {}) {
  const store = await open()
  const bytes = randomBytes(BYTES)
  const hex = sha256(bytes).toString('hex')
  const { created: blob } = await store.create(
    {
      swarm: hex.slice(0, 40) as SwarmId,
      key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex(hex) },
      bytes: BYTES,
      repository: 'team/app' as Repository,
    },
    () => false,
  )
  writeSync(blob.file.fd, bytes, 0, BYTES, 0)
  const hashOf = (piece: number) => sha256(bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES))
  const hashes = Buffer.concat(Array.from({ length: hashed }, (_, piece) => hashOf(piece)))
  blob.hashes.add({
    ...{ swarm: blob.swarm, epoch: 0, status: 'claimed', firstPiece: 0 as PieceIndex },
    ...{ hashes, signature: randomBytes(64) },
  })
  for (const piece of allPieces(blob.layout)) {
    const writer = blob.writes.begin(piece, { isStream: true })!
    blob.have.add(piece)
    blob.writes.end(writer)
  }
  Object.assign(blob, { isMatched, isHashed: isMatched })
  blob.markDirty()
  await blob.save()
  const spoil = (piece: number) => writeSync(blob.file.fd, Buffer.alloc(100), 0, 100, piece * PIECE_BYTES + 7)
  return { store, blob, spoil }
}

async function reopened({ swarm }: StoredBlob): Promise<{ store: BlobStore; blob: StoredBlob }> {
  const store = await open()
  expect(store.get(swarm), 'before it was checked').toBeUndefined()
  await store.unclean.checked(swarm, verifier)
  return { store, blob: store.get(swarm)! }
}
const piecesOf = (blob: StoredBlob) => [...allPieces(blob.layout)].filter((piece) => blob.have.has(piece))

test('after a kill a blob is there once it was hashed, as it was', async () => {
  const { blob } = await setUp()
  const again = await reopened(blob)
  expect(again.blob).toMatchObject({ isComplete: true, isHashed: true })
  expect(again.store.unclean.all()).toEqual([])
  await again.store.unclean.checked(blob.swarm, verifier)
  await again.store.close()
})

test('pieces that the disk lost are gone, and the others are kept', async () => {
  const { blob, spoil } = await setUp()
  for (const piece of [1, 3]) spoil(piece)
  const again = await reopened(blob)
  expect(piecesOf(again.blob)).toEqual([0, 2])
  expect(again.blob).toMatchObject({ isMatched: false, isHashed: false })
  await again.store.close()
})

test('a blob without a hash of every piece rests on its digest alone', async () => {
  for (const isSpoilt of [false, true]) {
    const { blob, spoil } = await setUp({ hashed: 2 })
    if (isSpoilt) spoil(3)
    const again = await reopened(blob)
    expect(piecesOf(again.blob)).toEqual(isSpoilt ? [] : [0, 1, 2, 3])
    await again.store.close()
  }
})

test('a blob that was closed is there at once, and needs no check while nobody writes it', async () => {
  const { store, blob } = await setUp()
  await store.close()
  expect(stateOf(blob).isClean).toBe(true)
  const second = await open()
  expect(second.get(blob.swarm)).toMatchObject({ isComplete: true })
  second.get(blob.swarm)!.touch()
  await second.get(blob.swarm)!.save()
  const third = await open()
  expect(third.get(blob.swarm)).toMatchObject({ isComplete: true })
  // A piece that was dropped and is fetched again.
  third.get(blob.swarm)!.have.delete(2 as PieceIndex)
  third.get(blob.swarm)!.writes.begin(2 as PieceIndex, { isStream: true })
  third.get(blob.swarm)!.touch()
  await third.get(blob.swarm)!.save()
  expect((await open()).unclean.all()).toHaveLength(1)
})

test('a store that is closed before the check leaves the blob to the next start', async () => {
  const { blob, spoil } = await setUp()
  spoil(1)
  const second = await open()
  const checking = second.unclean.checked(blob.swarm, verifier)
  await second.close()
  await checking
  expect(second.get(blob.swarm)).toBeUndefined()
  const again = await reopened(blob)
  expect(piecesOf(again.blob)).toEqual([0, 2, 3])
  await again.store.close()
})

test('what is being checked takes room', async () => {
  const { blob } = await setUp()
  const second = await BlobStore.open(join(folder, 'blobs'), BYTES + 1000)
  const other = { ...blob.key, digest: digestFromHex('a'.repeat(64)) }
  const created = second.create(
    { swarm: 'a'.repeat(40) as SwarmId, key: other, bytes: 2000, repository: blob.repository },
    () => true,
  )
  await expect(created).rejects.toMatchObject({ code: 'STORE_FULL' })
  await second.close()
})

test('a whole blob that has reached the disk is there at once after a kill, until somebody writes it again', async () => {
  const { blob } = await setUp()
  expect(stateOf(blob).isClean).toBe(false)
  await blob.sync()
  await blob.save()
  const again = await open()
  expect(again.get(blob.swarm)).toMatchObject({ isComplete: true })
  blob.have.delete(2 as PieceIndex)
  blob.writes.begin(2 as PieceIndex, { isStream: true })
  blob.markDirty()
  await blob.save()
  expect(stateOf(blob).isClean).toBe(false)
  await again.close()
})

test('a blob that is not whole is not called clean', async () => {
  const { blob } = await setUp({ isMatched: false })
  await blob.sync()
  blob.markDirty()
  await blob.save()
  expect(stateOf(blob).isClean).toBe(false)
})
