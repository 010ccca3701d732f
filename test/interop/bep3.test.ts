import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { type BencodedDictionary, decodeBencode } from '../../core/bencode.ts'
import { pieceLayout } from '../../core/metainfo.ts'
import { infoHashOf } from '../../core/torrent.ts'
import type { Credential } from '../../core/tracker-api.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../pull/test-cluster.ts'
import { dialAsBep3, fullBitfield, seedAsBep3 } from './bep3-peer.ts'
import { becomeStockClient } from './stock-client.ts'

const NONE: Credential = { scheme: 'none' }
const BLOCK_BYTES = 16 * 1024
const BLOB_BYTES = 9 * 256 * 1024 + 5

let cluster: TestCluster
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const it of open.splice(0)) await it.close()
  await cluster?.close()
})

/** A node that holds a blob, and someone with a pull certificate for it (or for another one) and its torrent. */
async function begin(options: { isForOtherBlob?: boolean } = {}) {
  cluster = await startTestCluster({ nodes: 1, kind: 'none' })
  const [holder] = cluster.nodes as [TestNode]
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  await pull(holder, cluster.request(blob, { credential: NONE }))
  const owner = await becomeStockClient(cluster, blob, { credential: NONE })
  open.push(owner)
  const torrent = decodeBencode(readFileSync(await owner.fetchTorrent())) as BencodedDictionary
  const info = torrent.get('info') as BencodedDictionary
  const authorityPem = String(info.get('ssl-cert'))
  const piecesSha1 = info.get('pieces') as Buffer
  const infoHash = infoHashOf({ digest: blob.digest, bytes: BLOB_BYTES, piecesSha1, authorityPem })
  const client = options.isForOtherBlob ? await ownerOfOther() : owner
  return { holder, blob, client, terms: { client, infoHash, authorityPem } }
}

async function ownerOfOther() {
  const other = cluster.registry.add(randomBlob(300_000).bytes)
  const client = await becomeStockClient(cluster, other, { credential: NONE })
  open.push(client)
  return client
}

async function expectPulledFromPeers(node: TestNode, blob: TestBlob): Promise<void> {
  const before = cluster.registry.sentBytes.get(blob.digest)
  const bytes = await pull(node, cluster.request(blob, { credential: NONE }))
  expect(bytes.equals(blob.bytes)).toBe(true)
  expect(progressOf(node, blob).bytesFromPeers).toBe(blob.bytes.length)
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(before)
}

test('a client without any extension is told what there is and is served, and hears no message that it cannot know', async () => {
  const { holder, blob, terms } = await begin()
  const peer = await dialAsBep3(holder.client.peerAddress.port, terms)
  open.push(peer)
  const { pieceCount } = pieceLayout(BLOB_BYTES)
  await expect.poll(() => peer.messages.length).toBe(2)
  expect(peer.handshake).toMatchObject({ swarm: terms.infoHash, hasFast: true })
  expect(peer.messages).toEqual([{ type: 'bitfield', bits: fullBitfield(pieceCount) }, { type: 'unchoke' }])
  peer.send({ type: 'interested' })
  for (let begin = 0; begin < 256 * 1024; begin += BLOCK_BYTES) {
    peer.send({ type: 'request', piece: 1, begin, length: BLOCK_BYTES })
  }
  peer.send({ type: 'cancel', piece: 1, begin: 15 * BLOCK_BYTES, length: BLOCK_BYTES })
  await expect.poll(() => peer.blocks.size).toBeGreaterThanOrEqual(15)
  for (const [name, bytes] of peer.blocks) {
    const [piece, begin] = name.split(' ').map(Number) as [number, number]
    const from = piece * 256 * 1024 + begin
    expect(bytes.equals(blob.bytes.subarray(from, from + BLOCK_BYTES))).toBe(true)
  }
  expect(peer.messages).toHaveLength(2)
})

test('a seeder without any extension serves a node, in blocks that it knows', async () => {
  const { holder, blob, client, terms } = await begin()
  const layout = pieceLayout(BLOB_BYTES)
  const { server, port, requests } = await seedAsBep3(terms, { bytes: blob.bytes, layout })
  open.push(server)
  await holder.stop()
  await client.announce(terms.infoHash, { port, left: 0 })
  await expectPulledFromPeers(await cluster.addNode({ name: 'late' }), blob)
  expect(requests.length).toBeGreaterThan(0)
  expect(requests.every(({ length }) => length <= BLOCK_BYTES)).toBe(true)
})

test('a node answers to the alias again after a restart', async () => {
  const { holder, terms } = await begin()
  await holder.stop()
  const again = await cluster.addNode({ name: holder.name })
  const peer = await dialAsBep3(again.client.peerAddress.port, terms)
  open.push(peer)
  await expect.poll(() => peer.messages.length).toBe(2)
})

test('a certificate for another blob opens no connection under the alias', async () => {
  const { holder, blob, terms } = await begin({ isForOtherBlob: true })
  const peer = await dialAsBep3(holder.client.peerAddress.port, terms)
  open.push(peer)
  await expect.poll(() => peer.isClosed).toBe(true)
  expect(peer.messages).toEqual([])
  await expectPulledFromPeers(await cluster.addNode(), blob)
})
