import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BLOB_VERSION } from '../../../client/store/blob-state.ts'
import { BlobStore, type StoredBlob } from '../../../client/store/blob-store.ts'
import { digestFromHex } from '../../../core/digest.ts'
import type { HashBatch } from '../../../core/hash-batch.ts'
import type { PieceIndex, SwarmId } from '../../../core/metainfo.ts'
import { parseRegistryHost, type Repository } from '../../../core/repository.ts'

const MIB = 1024 * 1024
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shoal-store-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const open = (bytesMax = 100 * MIB) => BlobStore.open(join(directory, 'blobs'), bytesMax)
const always = () => true
const never = () => false

function blobOf(name: string, bytes = MIB) {
  const hex = createHash('sha256').update(name).digest('hex')
  return {
    swarm: hex.slice(0, 40) as SwarmId,
    key: { registry: parseRegistryHost('registry.example'), digest: digestFromHex(hex) },
    bytes,
    repository: 'team/app' as Repository,
  }
}

const batchOf = (blob: StoredBlob, firstPiece: number, pieces: number): HashBatch => ({
  swarm: blob.swarm,
  epoch: 0,
  status: 'claimed',
  firstPiece,
  hashes: randomBytes(32 * pieces),
  signature: randomBytes(64),
})

async function create(store: BlobStore, name: string, bytes = MIB): Promise<StoredBlob> {
  const { created } = await store.create(blobOf(name, bytes), never)
  writeSync(created.file.fd, Buffer.alloc(bytes), 0, bytes, 0)
  return created
}

const folderOf = (name: string) => join(directory, 'blobs', blobOf(name).swarm)

test('a closed store is unchanged when it is opened again', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  blob.hashes.add(batchOf(blob, 0, 3))
  for (const piece of [0, 2]) blob.have.add(piece as PieceIndex)
  await store.close()
  const again = (await open()).get(blob.swarm)!
  expect(again.have.toBytes().equals(blob.have.toBytes())).toBe(true)
  expect(again.hashes.batches).toEqual(blob.hashes.batches)
  expect(again).toMatchObject({ key: blob.key, repository: 'team/app', isMatched: false, isComplete: false })
})

test('after a kill the saved pieces are there, and no others', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  blob.hashes.add(batchOf(blob, 0, 4))
  blob.have.add(0 as PieceIndex)
  blob.markDirty()
  await blob.save()
  blob.have.add(1 as PieceIndex)
  blob.markDirty()
  const [again] = (await open()).unclean.all()
  expect([0, 1].map((piece) => again!.have.has(piece as PieceIndex))).toEqual([true, false])
})

test('a piece whose hash nobody signed is not in the state file: it could not be checked later', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  blob.hashes.add(batchOf(blob, 0, 1))
  for (const piece of [0, 1]) blob.have.add(piece as PieceIndex)
  await store.close()
  const again = (await open()).get(blob.swarm)!
  expect([0, 1].map((piece) => again.have.has(piece as PieceIndex))).toEqual([true, false])
})

test('a blob that was created and never saved is gone after a kill, with its folder', async () => {
  await create(await open(), 'one')
  expect(existsSync(folderOf('one'))).toBe(true)
  const again = await open()
  expect(again.all()).toEqual([])
  expect(existsSync(folderOf('one'))).toBe(false)
})

const good = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
for (const [what, spoil] of [
  ['is empty', () => ''],
  ['is cut short', (path: string) => readFileSync(path, 'utf8').slice(0, 50)],
  ['is no object', () => '[1]'],
  ['has an unknown version', (path: string) => JSON.stringify({ ...good(path), version: 99 })],
  ['has an unknown key', (path: string) => JSON.stringify({ ...good(path), extra: 1 })],
  ['has a malformed digest', (path: string) => JSON.stringify({ ...good(path), digest: '../../etc/passwd' })],
  [
    'has a bitfield of the wrong length',
    (path: string) => JSON.stringify({ ...good(path), pieces: 'AAAAAAAA' }),
  ],
  ['has spare bits set', (path: string) => JSON.stringify({ ...good(path), pieces: '_w' })],
  ['has an impossible size', (path: string) => JSON.stringify({ ...good(path), bytes: 2 ** 52 })],
] as const) {
  test(`a blob whose state file ${what} is removed, and others stay`, async () => {
    const store = await open()
    for (const name of ['one', 'two']) await create(store, name)
    await store.close()
    const path = join(folderOf('one'), 'state.json')
    writeFileSync(path, spoil(path))
    const again = await open()
    expect(again.all().map(({ swarm }) => swarm)).toEqual([blobOf('two').swarm])
    expect(existsSync(folderOf('one'))).toBe(false)
  })
}

test('a blob whose data file is missing is removed', async () => {
  const store = await open()
  await create(store, 'one')
  await store.close()
  rmSync(join(folderOf('one'), 'data'))
  expect((await open()).all()).toEqual([])
})

test('a blob whose data file is shorter than its blob is removed: its pieces are not there', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  blob.isMatched = true
  for (let piece = 0; piece < 4; piece++) blob.have.add(piece as PieceIndex)
  blob.markDirty()
  await store.close()
  truncateSync(join(folderOf('one'), 'data'), 1000)
  expect((await open()).all()).toEqual([])
})

test('foreign files in the folder are left, and count for nothing', async () => {
  const foreign = ['lost+found', 'stray', 'pushed-by-hand']
  mkdirSync(join(directory, 'blobs', foreign[0]!), { recursive: true })
  writeFileSync(join(directory, 'blobs', foreign[0]!, 'data'), Buffer.alloc(2 * MIB))
  for (const name of foreign.slice(1)) writeFileSync(join(directory, 'blobs', name), Buffer.alloc(2 * MIB))
  const store = await open(2 * MIB)
  await create(store, 'one', 2 * MIB)
  await store.close()
  expect(readdirSync(join(directory, 'blobs')).sort()).toEqual([...foreign, blobOf('one').swarm].sort())
  expect(readdirSync(join(directory, 'blobs', foreign[0]!))).toEqual(['data'])
})

test('what was left of a push that was cut off is removed', async () => {
  const store = await open()
  const { directory: left } = await store.createPushed()
  await open()
  expect(existsSync(left)).toBe(false)
})

test('folders and files are for their owner only', async () => {
  const store = await open()
  await create(store, 'one')
  await store.close()
  expect(statSync(join(directory, 'blobs')).mode & 0o77).toBe(0)
  for (const name of ['', 'data', 'state.json'])
    expect(statSync(join(folderOf('one'), name)).mode & 0o77).toBe(0)
})

test('the least recently used idle blobs make room, in use ones never', async () => {
  const store = await open(3 * MIB)
  const blobs: StoredBlob[] = []
  for (const [at, name] of ['one', 'two', 'three'].entries()) {
    blobs.push(await create(store, name))
    blobs[at]!.usedAtMs = 1000 + at
  }
  const isIdle = ({ swarm }: StoredBlob) => swarm !== blobs[0]!.swarm
  const { evicted } = await store.create(blobOf('four'), isIdle)
  expect(evicted).toEqual([blobs[1]!.swarm])
  expect(existsSync(folderOf('two'))).toBe(false)
  await expect(store.create(blobOf('five', 2 * MIB + 1), isIdle)).rejects.toMatchObject({
    code: 'STORE_FULL',
  })
})

test('pinned blobs make no room, the last copy of a blob in the cluster last', async () => {
  const store = await open(3 * MIB)
  const [pinned, last, other] = [
    await create(store, 'pinned'),
    await create(store, 'last'),
    await create(store, 'other'),
  ]
  for (const [at, blob] of [pinned, last, other].entries()) {
    blob.usedAtMs = Date.now() - 1000 + at
    blob.isMatched = true
    for (let piece = 0; piece < blob.layout.pieceCount; piece++) blob.have.add(piece as PieceIndex)
  }
  store.standing = {
    isPinned: (blob) => blob === pinned,
    others: (blob) => (blob === last ? 0 : 2),
  }
  expect((await store.create(blobOf('four'), always)).evicted).toEqual([other.swarm])
  await store.remove(blobOf('four').swarm)
  expect((await store.create(blobOf('five', 2 * MIB), always)).evicted).toEqual([last.swarm])
  await expect(store.create(blobOf('six', 3 * MIB), always)).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(store.get(pinned.swarm)).toBe(pinned)
})

test('a smaller cache, or a disk that others fill, makes idle blobs go until the limits hold', async () => {
  const store = await open(4 * MIB)
  for (const name of ['one', 'two', 'three', 'four']) await create(store, name)
  for (const [at, name] of ['one', 'two', 'three', 'four'].entries())
    store.get(blobOf(name).swarm)!.usedAtMs = at
  store.resize({ bytesMax: 2 * MIB, reserveBytes: 0 })
  const inUse = (blob: StoredBlob) => blob.swarm !== blobOf('one').swarm
  expect(await store.relieve(inUse)).toEqual({
    evicted: [blobOf('two').swarm, blobOf('three').swarm],
    lack: undefined,
  })
  // No disk has this much free: all that may go goes, and what lacks is said.
  store.resize({ bytesMax: 2 * MIB, reserveBytes: 2 ** 60 })
  const { evicted, lack } = await store.relieve(inUse)
  expect(evicted).toEqual([blobOf('four').swarm])
  expect(lack).toMatchObject({ code: 'STORE_FULL', limit: 'disk' })
  expect(store.all().map(({ swarm }) => swarm)).toEqual([blobOf('one').swarm])
})

test('what running downloads will still write counts as taken', async () => {
  const store = await open(2 ** 50)
  const { bavail, bsize } = statfsSync(directory)
  const most = Math.floor((bavail * bsize) / 2)
  store.resize({ bytesMax: 2 ** 50, reserveBytes: most })
  // Sparse: nothing of it is on the disk yet.
  await store.create(blobOf('large', Math.floor(most * 0.7)), never)
  await expect(store.create(blobOf('second', Math.floor(most * 0.7)), never)).rejects.toMatchObject({
    limit: 'disk',
  })
})

test('blobs created at the same moment never outgrow the store together', async () => {
  const store = await open(3 * MIB)
  const names = ['one', 'two', 'three', 'four', 'five']
  await Promise.allSettled(names.map((name) => store.create(blobOf(name), never)))
  expect(store.all().length).toBeLessThanOrEqual(3)
})

test('a blob larger than the store fails at once and evicts nothing', async () => {
  const store = await open(3 * MIB)
  await create(store, 'one')
  await expect(store.create(blobOf('large', 4 * MIB), always)).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(store.all()).toHaveLength(1)
})

test('a descriptor stays open while it is pinned, also when its blob is deleted, and closes after', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  const release = blob.pin()
  const other = blob.pin()
  await store.remove(blob.swarm)
  expect(fstatSync(blob.file.fd).size).toBe(MIB)
  other()
  expect(fstatSync(blob.file.fd).size).toBe(MIB)
  release()
  expect(() => fstatSync(blob.file.fd)).toThrow(expect.objectContaining({ code: 'EBADF' }))
  expect(() => blob.pin()).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
})

test('closing twice, and saving afterwards, are harmless', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  await store.close()
  await store.close()
  blob.markDirty()
  await blob.save()
  await store.remove(blob.swarm)
  expect(existsSync(folderOf('one'))).toBe(false)
})

test('a block of a deleted blob is reported as unreadable, not thrown', async () => {
  const store = await open()
  const blob = await create(store, 'one')
  await store.remove(blob.swarm)
  const read: boolean[] = []
  blob.readBlock(Buffer.alloc(16), { at: 0, length: 16, position: 0 }, (isRead) => read.push(isRead))
  expect(read).toEqual([false])
})

test('a blob that came into use while room was looked for is not evicted', async () => {
  const store = await open(2 * MIB)
  const one = await create(store, 'one', 2 * MIB)
  let isInUse = false
  const creating = store.create(blobOf('two', 2 * MIB), () => !isInUse)
  // Before the disk has answered how much room there is, after it was asked.
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  isInUse = true
  await expect(creating).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(store.get(one.swarm)).toBe(one)
})

test('a blob that is created again while its last copy still saves its state gets none of it', async () => {
  const store = await open()
  for (let round = 0; round < 20; round++) {
    const blob = await create(store, 'one')
    blob.hashes.add(batchOf(blob, 0, 4))
    blob.have.add(0 as PieceIndex)
    blob.markDirty()
    void blob.save()
    const removing = store.remove(blob.swarm)
    await store.create(blobOf('one'), never)
    await removing
    expect(readdirSync(folderOf('one'))).toEqual(['data'])
    await store.remove(blob.swarm)
  }
})

test('blobs of a newer Shoal are dropped and counted; the others stay', async () => {
  const store = await open()
  for (const name of ['newer', 'same']) (await create(store, name)).markDirty()
  await store.close()
  const path = join(folderOf('newer'), 'state.json')
  writeFileSync(path, JSON.stringify({ version: BLOB_VERSION + 1, layers: 'of another kind' }))
  const again = await open()
  expect(again.newerDropped).toBe(1)
  expect(again.all().map(({ swarm }) => swarm)).toEqual([blobOf('same').swarm])
  expect(existsSync(folderOf('newer'))).toBe(false)
  await again.close()
  expect((await open()).newerDropped).toBe(0)
})
