import { randomBytes } from 'node:crypto'
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { CacheKey, UNIT_BYTES } from '../../../client/store/blob-cipher.ts'
import {
  type BlobFile,
  readFileSync as readBlobSync,
  readFile,
  writeFileSync,
} from '../../../client/store/blob-file.ts'
import type { SwarmId } from '../../../core/metainfo.ts'
import { nodeConfig } from '../../../node/config.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../../pull/test-cluster.ts'

let cluster: TestCluster | undefined
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-cache-'))
})
afterEach(async () => {
  await cluster?.close()
  cluster = undefined
  rmSync(folder, { recursive: true })
})

const PIECE_BYTES = 256 * 1024
const SWARM = 'a'.repeat(40) as SwarmId
const SAMPLE_BYTES = 16

function fileOf(bytes: number, secret: Uint8Array | undefined = randomBytes(32)): BlobFile {
  const fd = openSync(join(folder, String(bytes)), 'w+')
  return { fd, bytes, key: new CacheKey(secret).keyFor(SWARM) }
}

/** Everything below the folder, as a thief of the disk has it. */
const diskOf = (directory: string) =>
  Buffer.concat(
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .map((name) => join(directory, name))
      .filter((path) => statSync(path).isFile())
      .map((path) => readFileSync(path)),
  )

function expectNothingOf(blob: TestBlob, disk: Buffer): void {
  for (let at = 0; at + SAMPLE_BYTES <= blob.bytes.length; at += 4096 + SAMPLE_BYTES)
    expect(disk.includes(blob.bytes.subarray(at, at + SAMPLE_BYTES))).toBe(false)
}

for (const [what, bytes] of [
  ['whole units', 2 * UNIT_BYTES],
  ['a tail of one byte', 2 * UNIT_BYTES + 1],
  ['a tail of 17 bytes', UNIT_BYTES + 17],
  ['nothing but five bytes', 5],
] as const) {
  test(`an encrypted file of ${what} reads back at any place and length, and is none of what it holds`, async () => {
    const file = fileOf(bytes)
    const content = randomBytes(bytes)
    writeFileSync(file, content, 0)
    const ranges = [0, 1, 100, 16_384, UNIT_BYTES - 1, UNIT_BYTES, bytes - 1].flatMap((position) =>
      [1, 16, 16_384, UNIT_BYTES, bytes].map((length) => ({ position, length })),
    )
    for (const { position, length } of ranges.filter((range) => range.position + range.length <= bytes)) {
      const target = Buffer.alloc(length + 9, 1)
      expect(readBlobSync(file, { target, at: 9, length, position })).toBe(true)
      expect(target.subarray(9).equals(content.subarray(position, position + length))).toBe(true)
      target.fill(1)
      expect(await readFile(file, { target, at: 9, length, position })).toBe(true)
      expect(target.subarray(9).equals(content.subarray(position, position + length))).toBe(true)
      expect(target.subarray(0, 9).equals(Buffer.alloc(9, 1))).toBe(true)
    }
    if (bytes > SAMPLE_BYTES) expect(diskOf(folder).includes(content.subarray(-SAMPLE_BYTES))).toBe(false)
  })
}

test('the same content is another cipher text at another place, in another blob and under another key', () => {
  const content = Buffer.alloc(UNIT_BYTES, 7)
  const secret = randomBytes(32)
  const swarms = [SWARM, SWARM, 'b'.repeat(40) as SwarmId, SWARM]
  const secrets = [secret, secret, secret, randomBytes(32)]
  const texts = swarms.map((swarm, at) => {
    const path = join(folder, String(at))
    const key = new CacheKey(secrets[at]!).keyFor(swarm)
    const unit = at === 1 ? 1 : 0
    writeFileSync({ fd: openSync(path, 'w+'), bytes: 2 * UNIT_BYTES, key }, content, unit * UNIT_BYTES)
    return readFileSync(path)
      .subarray(unit * UNIT_BYTES)
      .toString('hex')
  })
  expect(new Set(texts).size).toBe(4)
})

async function startWith(cacheSecret: Uint8Array): Promise<{ blob: TestBlob; node: TestNode }> {
  cluster = await startTestCluster({ nodes: 1 })
  const blob = cluster.registry.add(randomBlob(3 * PIECE_BYTES + 17).bytes)
  const node = await cluster.addNode({ name: 'encrypting', client: { cacheSecret } })
  expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  return { blob, node }
}

test('a node that encrypts pulls and serves the right bytes, and has none of them on its disk', async () => {
  const { blob, node } = await startWith(randomBytes(32))
  const [plain] = cluster!.nodes
  expect((await pull(plain!, cluster!.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(plain!, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
  expectNothingOf(blob, diskOf(node.dataDir))
  // What is looked for can be found: a node that does not encrypt has it.
  expect(() => expectNothingOf(blob, diskOf(plain!.dataDir))).toThrow()
})

/** The node again, on the same folder; it alone had the blob. @returns bytes that it takes from the registry now */
async function restarted({ blob, node }: { blob: TestBlob; node: TestNode }, changes: object) {
  await node.stop()
  const sentBefore = cluster!.registry.sentBytes.get(blob.digest)!
  const again = await cluster!.addNode({ name: node.name, client: changes })
  const bytes = await pull(again, cluster!.request(blob))
  expect(bytes.equals(blob.bytes)).toBe(true)
  return cluster!.registry.sentBytes.get(blob.digest)! - sentBefore
}

test('restarted with its key a node serves from its cache', async () => {
  const cacheSecret = randomBytes(32)
  const started = await startWith(cacheSecret)
  expect(await restarted(started, { cacheSecret })).toBe(0)
})

for (const [what, secretOf] of [
  ['another key', () => ({ cacheSecret: randomBytes(32) })],
  ['no key', () => ({})],
] as const) {
  test(`restarted with ${what} a node begins empty, and never gives out what it cannot read`, async () => {
    const started = await startWith(randomBytes(32))
    const { blob } = started
    expect(await restarted(started, secretOf())).toBe(blob.bytes.length)
  })
}

test('the cache is not encrypted unless it is asked for', () => {
  expect(nodeConfig.parse({ trackerUrl: 'https://tracker.example' }).cacheKeyFile).toBe('none')
})
