import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest'
import { digestHex } from '../../core/digest.ts'
import { makeAuthority } from '../../core/issue-certificate.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { LibtorrentPeer } from '../interop/libtorrent-peer.ts'
import { becomeStockClient, type StockClient } from '../interop/stock-client.ts'
import { progressOf, pull, randomBlob, type TestBlob } from '../pull/test-cluster.ts'
import { mint, pullClaimsFor, stealAuthority } from './attacker.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectLogged, expectUnharmed, useTarget } from './target.ts'

/** A peer that nobody here wrote: libtorrent, with its SSL torrents, in the hands of somebody without the right. */
const PATIENCE_MS = 20_000

describe.skipIf(mustSkipFor(['python3-libtorrent']))('libtorrent as a hostile peer', () => {
  const target = useTarget()
  let client: StockClient
  let torrent: string

  beforeAll(async () => {
    const { cluster, blob } = target
    client = await becomeStockClient(cluster, blob, { credential: cluster.request(blob).credential })
    torrent = await client.fetchTorrent()
  })
  afterAll(() => client?.close())
  let mark = 0
  beforeEach(() => {
    mark = target.logged.length
  })

  /** Dials the holder until it gives up. What libtorrent has by its own count, and what is on its disk, is loot. */
  async function expectGetsNothing(files: { certificate: string; key: string }, blob: TestBlob) {
    const { holder, cluster } = target
    const sentBefore = progressOf(holder, blob).bytesToPeers
    const saveFolder = join(cluster.folder, `libtorrent-${Math.random().toString(36).slice(2)}`)
    const leecher = await LibtorrentPeer.start({ ...files, torrent, saveFolder, isSeed: false })
    try {
      leecher.connect(holder.client.peerAddress.port)
      await leecher.alerted(/^peer_(error|disconnected)_alert/, PATIENCE_MS)
      const { downloadedBytes, doneBytes, isSeed } = await leecher.status()
      const sent = progressOf(holder, blob).bytesToPeers - sentBefore
      loot.bytes += downloadedBytes + doneBytes + sent
      expect({ downloadedBytes, doneBytes, isSeed, sent }).toEqual({
        downloadedBytes: 0,
        doneBytes: 0,
        isSeed: false,
        sent: 0,
      })
    } finally {
      await leecher.close()
    }
  }

  const written = (name: string, pem: { certificatePem: string; privateKeyPem: string }) => {
    const write = (file: string, text: string) => {
      writeFileSync(join(client.folder, file), text, { mode: 0o600 })
      return join(client.folder, file)
    }
    return {
      certificate: write(`${name}.crt`, pem.certificatePem),
      key: write(`${name}.key`, pem.privateKeyPem),
    }
  }

  attackTest('with a right certificate, but no proof of the token, downloads nothing', async () => {
    expect(readFileSync(client.certificate, 'utf8')).toContain('BEGIN CERTIFICATE')
    await expectGetsNothing(client, target.blob)
    await expectLogged(target, mark, 'PEER_REFUSED')
  })

  attackTest('with a self-signed certificate downloads nothing', async () => {
    const own = await makeAuthority({ commonName: digestHex(target.blob.digest), validForSeconds: 600 })
    await expectGetsNothing(written('own', own), target.blob)
    await expectLogged(target, mark, 'PEER_REFUSED')
  })

  attackTest('with a certificate for another blob downloads nothing', async () => {
    const { cluster, member, blob } = target
    const other = randomBlob(1000)
    const claims = pullClaimsFor(cluster, member, blob, { blobs: [other.digest], tokenHash: 'a'.repeat(64) })
    const wrong = mint(await stealAuthority(cluster, member.cluster), claims)
    await expectGetsNothing(written('other', wrong), blob)
    await expectLogged(target, mark, 'PEER_REFUSED')
  })

  attackTest('as a seed with false data makes no node take a byte of it', async () => {
    const { cluster, blob } = target
    writeFileSync(join(client.folder, digestHex(blob.digest)), Buffer.alloc(blob.bytes.length, 0xee))
    const { certificate, key, folder: saveFolder } = client
    const seeder = await LibtorrentPeer.start({ certificate, key, torrent, saveFolder, isSeed: true })
    await client.announce((await seeder.status()).infoHash, { port: seeder.port, left: 0 })
    const node = await cluster.addNode({ name: 'beside-libtorrent' })
    expect((await pull(node, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    const { uploadedBytes } = await seeder.status()
    loot.bytes += uploadedBytes
    expect(uploadedBytes).toBe(0)
    await node.stop()
    await seeder.close()
  })

  expectUnharmed(target)
})
