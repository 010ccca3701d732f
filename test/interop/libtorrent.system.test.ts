import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { digestHex } from '../../core/digest.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import {
  progressOf,
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../pull/test-cluster.ts'
import { LibtorrentPeer } from './libtorrent-peer.ts'
import { becomeStockClient, type StockClient } from './stock-client.ts'

const MIB = 1024 * 1024
const NONE: Credential = { scheme: 'none' }
const isSkipped = mustSkipFor(['python3-libtorrent'])

let cluster: TestCluster
const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const it of open.splice(0)) await it.close()
  await cluster?.close()
})

async function startLibtorrent(
  client: StockClient,
  options: { isSeed: boolean; listenPort?: number; torrent?: string },
): Promise<LibtorrentPeer> {
  const { certificate, key, folder } = client
  const torrent = options.torrent ?? (await client.fetchTorrent())
  const peer = await LibtorrentPeer.start({ certificate, key, saveFolder: folder, ...options, torrent })
  open.push(peer)
  return peer
}

async function stockClient(blob: TestBlob, options: { credential: Credential; listenPort?: number }) {
  const client = await becomeStockClient(cluster, blob, options)
  open.push(client)
  return client
}

function sha256OfDownload({ folder }: StockClient, blob: TestBlob): string {
  return createHash('sha256')
    .update(readFileSync(join(folder, digestHex(blob.digest))))
    .digest('hex')
}

async function expectServedByPeers(node: TestNode, blob: TestBlob, credential?: Credential): Promise<void> {
  const before = cluster.registry.sentBytes.get(blob.digest)
  const bytes = await pull(node, cluster.request(blob, credential && { credential }))
  expect(bytes.equals(blob.bytes)).toBe(true)
  expect(progressOf(node, blob)).toMatchObject({ state: 'complete', bytesFromPeers: blob.bytes.length })
  expect(cluster.registry.sentBytes.get(blob.digest)).toBe(before)
}

describe.skipIf(isSkipped)('with a registry without authentication, libtorrent', () => {
  async function startWithHolder(bytes: number) {
    cluster = await startTestCluster({ nodes: 1, kind: 'none' })
    const blob = cluster.registry.add(randomBlob(bytes).bytes)
    const [holder] = cluster.nodes as [TestNode]
    await pull(holder, cluster.request(blob, { credential: NONE }))
    return { blob, holder }
  }

  test('downloads a whole layer from a node', async () => {
    const { blob, holder } = await startWithHolder(40 * MIB + 17)
    const client = await stockClient(blob, { credential: NONE })
    const leecher = await startLibtorrent(client, { isSeed: false })
    leecher.connect(holder.client.peerAddress.port)
    const status = await leecher.until(({ isSeed }) => isSeed, 60_000)
    expect(status).toMatchObject({ isSeed: true, downloadedBytes: blob.bytes.length })
    expect(sha256OfDownload(client, blob)).toBe(digestHex(blob.digest))
    expect(progressOf(holder, blob).bytesToPeers).toBe(blob.bytes.length)
  })

  test('serves a whole layer to a node, which verifies it and fetches nothing from the registry', async () => {
    const { blob, holder } = await startWithHolder(40 * MIB + 17)
    const client = await stockClient(blob, { credential: NONE })
    writeFileSync(join(client.folder, digestHex(blob.digest)), blob.bytes)
    const seeder = await startLibtorrent(client, { isSeed: true })
    const { infoHash } = await seeder.status()
    await holder.stop()
    await client.announce(infoHash, { port: seeder.port, left: 0 })
    const late = await cluster.addNode({ name: 'late' })
    await expectServedByPeers(late, blob, NONE)
    const { uploadedBytes } = await seeder.until((it) => it.uploadedBytes >= blob.bytes.length, 5_000)
    expect(uploadedBytes).toBe(blob.bytes.length)
  })

  test('downloads beside a node that downloads too, each free to take pieces from the other', async () => {
    const { blob, holder } = await startWithHolder(40 * MIB + 17)
    const client = await stockClient(blob, { credential: NONE })
    const leecher = await startLibtorrent(client, { isSeed: false })
    const { infoHash } = await leecher.status()
    await client.announce(infoHash, { port: leecher.port, left: blob.bytes.length, event: 'started' })
    leecher.connect(holder.client.peerAddress.port)
    await expectServedByPeers(await cluster.addNode(), blob, NONE)
    expect(await leecher.until(({ isSeed }) => isSeed, 60_000)).toMatchObject({ isSeed: true })
    expect(sha256OfDownload(client, blob)).toBe(digestHex(blob.digest))
  })

  test('gets nothing with a certificate for another layer', async () => {
    const { blob, holder } = await startWithHolder(3 * MIB)
    const other = cluster.registry.add(randomBlob(300_000).bytes)
    const owner = await stockClient(blob, { credential: NONE })
    const stranger = await stockClient(other, { credential: NONE })
    const torrent = await owner.fetchTorrent()
    const leecher = await startLibtorrent(stranger, { isSeed: false, torrent })
    leecher.connect(holder.client.peerAddress.port)
    await leecher.alerted(/^peer_(error|disconnected)_alert/, 20_000)
    expect(await leecher.status()).toMatchObject({ downloadedBytes: 0, doneBytes: 0 })
    await expectServedByPeers(await cluster.addNode(), blob, NONE)
  })

  test('cannot announce to the tracker by itself: it wants one whose certificate the torrent names', async () => {
    const { blob } = await startWithHolder(300_000)
    const leecher = await startLibtorrent(await stockClient(blob, { credential: NONE }), { isSeed: false })
    expect(await leecher.alerted(/^tracker_error_alert/, 20_000)).toMatch(/certificate verify failed/)
  })
})

describe.skipIf(isSkipped)('where tokens are required, libtorrent', () => {
  async function startWithHolder() {
    cluster = await startTestCluster({ nodes: 1 })
    const blob = cluster.registry.add(randomBlob(3 * MIB).bytes)
    const [holder] = cluster.nodes as [TestNode]
    await pull(holder, cluster.request(blob))
    return { blob, holder, credential: cluster.request(blob).credential }
  }

  test('is refused by a node that it dials, and gets nothing', async () => {
    const { blob, holder, credential } = await startWithHolder()
    const client = await stockClient(blob, { credential })
    const leecher = await startLibtorrent(client, { isSeed: false })
    leecher.connect(holder.client.peerAddress.port)
    await leecher.alerted(/^peer_(error|disconnected)_alert/, 20_000)
    expect(await leecher.status()).toMatchObject({ downloadedBytes: 0, doneBytes: 0, isSeed: false })
    expect(progressOf(holder, blob).bytesToPeers).toBe(0)
    await expectServedByPeers(await cluster.addNode(), blob)
  })

  test('gets nothing from nodes that dial it, and is no peer to the tracker', async () => {
    const { blob, holder, credential } = await startWithHolder()
    const listenPort = await freePort()
    // Its pull has it listed as if it were a node, so that nodes do dial it.
    const client = await stockClient(blob, { credential, listenPort })
    const leecher = await startLibtorrent(client, { isSeed: false, listenPort })
    const { infoHash } = await leecher.status()
    const answer = await client.announce(infoHash, { port: listenPort, left: blob.bytes.length })
    expect(answer.get('peers')).toEqual(Buffer.alloc(0))
    await expectServedByPeers(await cluster.addNode(), blob)
    await leecher.alerted(/^peer_(error|disconnected)_alert/, 20_000)
    expect(await leecher.status()).toMatchObject({ downloadedBytes: 0, doneBytes: 0 })
    expect(progressOf(holder, blob).bytesToPeers).toBe(blob.bytes.length)
  })

  test('is not downloaded from either', async () => {
    const { blob, holder, credential } = await startWithHolder()
    const client = await stockClient(blob, { credential })
    writeFileSync(join(client.folder, digestHex(blob.digest)), blob.bytes)
    const seeder = await startLibtorrent(client, { isSeed: true })
    await client.announce((await seeder.status()).infoHash, { port: seeder.port, left: 0 })
    await holder.stop()
    const late = await cluster.addNode({ name: 'late' })
    expect((await pull(late, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    expect(progressOf(late, blob)).toMatchObject({ bytesFromPeers: 0, bytesFromRegistry: blob.bytes.length })
    expect((await seeder.status()).uploadedBytes).toBe(0)
  })
})
