import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { digestHex } from '../../core/digest.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { mustSkipFor } from '../../lab/requirements.ts'
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

async function startLibtorrent(client: StockClient, options: { isSeed: boolean }): Promise<LibtorrentPeer> {
  const { certificate, key, folder } = client
  const torrent = await client.fetchTorrent()
  const peer = await LibtorrentPeer.start({ torrent, certificate, key, saveFolder: folder, ...options })
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
})

describe.skipIf(isSkipped)('where tokens are required, libtorrent', () => {
  test('is refused by a node that it dials, and gets nothing', async () => {
    cluster = await startTestCluster({ nodes: 1 })
    const blob = cluster.registry.add(randomBlob(3 * MIB).bytes)
    const [holder] = cluster.nodes as [TestNode]
    await pull(holder, cluster.request(blob))
    const client = await stockClient(blob, { credential: cluster.request(blob).credential })
    const leecher = await startLibtorrent(client, { isSeed: false })
    leecher.connect(holder.client.peerAddress.port)
    await leecher.alerted(/^peer_(error|disconnected)_alert/, 20_000)
    expect(await leecher.status()).toMatchObject({ downloadedBytes: 0, doneBytes: 0, isSeed: false })
    expect(progressOf(holder, blob).bytesToPeers).toBe(0)
    await expectServedByPeers(await cluster.addNode(), blob)
  })
})
