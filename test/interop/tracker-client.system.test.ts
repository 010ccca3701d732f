import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type LineProcess, startLineProcess } from '../../bench/measure/line-process.ts'
import { INDEPENDENT_PEERS, isPeerInstalled } from '../../bench/peers/installed.ts'
import type { Understood } from '../../bench/peers/tracker-client.ts'
import { type BencodedDictionary, decodeBencode } from '../../core/bencode.ts'
import type { InfoHash } from '../../core/metainfo.ts'
import { infoHashOf } from '../../core/torrent.ts'
import type { Credential } from '../../core/tracker-api.ts'
import { isSkippedFor } from '../../lab/machine/skipped.ts'
import { ANNOUNCE_INTERVAL_SECONDS } from '../../tracker/swarm/stock-peers.ts'
import {
  pull,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../pull/test-cluster.ts'
import { becomeStockClient, type StockClient } from './stock-client.ts'

const NONE: Credential = { scheme: 'none' }
const BLOB_BYTES = 3 * 256 * 1024 + 5
const PROGRAM = join(import.meta.dirname, '../../bench/peers/tracker-client.ts')

const isSkipped = !isPeerInstalled('bittorrent-tracker') && isSkippedFor([INDEPENDENT_PEERS])

let cluster: TestCluster
let caller: LineProcess
const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  await caller?.stop()
  for (const it of open.splice(0)) await it.close()
  await cluster?.close()
})

interface Ask {
  action: 'start' | 'complete' | 'stop' | 'scrape'
  port?: number
  left?: number
  /** Of another client than the torrent's owner; null for none. */
  as?: StockClient | null
  infoHash?: InfoHash
}

/** A node that holds a blob, and npm's tracker client with a pull certificate for it. */
async function begin(kind: 'none' | 'token') {
  cluster = await startTestCluster({ nodes: 1, kind })
  const [holder] = cluster.nodes as [TestNode]
  const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
  const credential = kind === 'none' ? NONE : cluster.request(blob).credential
  await pull(holder, cluster.request(blob, { credential }))
  const owner = await stockClient(blob, credential)
  const { announceUrl, infoHash } = readTorrent(await owner.fetchTorrent(), blob)
  const { trackerCaPem } = cluster.nodeOptions('caller') as { trackerCaPem: string }
  caller = startLineProcess([process.execPath, PROGRAM])
  const ask = ({ action, port = 6881, left = 0, as = owner, ...changes }: Ask) => {
    const own = as && { cert: readFileSync(as.certificate, 'utf8'), key: readFileSync(as.key, 'utf8') }
    const tls = { ca: trackerCaPem, ...own }
    return caller.ask<Understood>({ do: 'call', action, announceUrl, infoHash, port, left, tls, ...changes })
  }
  return { holder, blob, infoHash, credential, ask }
}

async function stockClient(blob: TestBlob, credential: Credential): Promise<StockClient> {
  const client = await becomeStockClient(cluster, blob, { credential })
  open.push(client)
  return client
}

function readTorrent(file: string, { digest }: TestBlob) {
  const torrent = decodeBencode(readFileSync(file)) as BencodedDictionary
  const info = torrent.get('info') as BencodedDictionary
  const infoHash = infoHashOf({
    ...{ digest, bytes: BLOB_BYTES },
    authorityPem: String(info.get('ssl-cert')),
    piecesSha1: info.get('pieces') as Buffer,
  })
  return { announceUrl: String(torrent.get('announce')), infoHash }
}

describe.skipIf(isSkipped)('npm’s bittorrent-tracker client, over mutual TLS', () => {
  test('announces at the address that the torrent names, and is told of the node with the whole blob', async () => {
    const { holder, ask } = await begin('none')
    const { peers, answers, complaints } = await ask({ action: 'start', left: BLOB_BYTES })
    expect(complaints).toEqual([])
    expect(peers).toEqual([`127.0.0.1:${holder.client.peerAddress.port}`])
    expect(answers).toMatchObject([{ complete: 1, interval: ANNOUNCE_INTERVAL_SECONDS }])
  })

  test('scrapes itself counted as it downloads, completes and leaves', async () => {
    const { infoHash, ask } = await begin('none')
    const counts = async () => {
      const { answers, complaints } = await ask({ action: 'scrape' })
      expect(complaints).toEqual([])
      expect(answers).toMatchObject([{ infoHash, downloaded: answers[0]?.complete }])
      return [answers[0]!.complete, answers[0]!.incomplete] as const
    }
    // Its owner had a pull granted as a node does, and is listed as one until the heartbeats are missed.
    await expect.poll(counts, { timeout: 30_000 }).toEqual([1, 0])
    await ask({ action: 'start', left: BLOB_BYTES })
    expect(await counts()).toEqual([1, 1])
    await ask({ action: 'complete' })
    expect(await counts()).toEqual([2, 0])
    await ask({ action: 'stop' })
    expect(await counts()).toEqual([1, 0])
  })

  test('understands why it is refused: without a certificate, with one for another blob, under another name', async () => {
    const { ask } = await begin('none')
    const other = cluster.registry.add(randomBlob(300_000).bytes)
    const complaints = async (asked: Ask) => (await ask(asked)).complaints.join()
    expect(await complaints({ action: 'start', as: null })).toMatch(/^CERTIFICATE_REQUIRED: /)
    expect(await complaints({ action: 'start', as: await stockClient(other, NONE) })).toMatch(
      /^SWARM_NOT_GRANTED: /,
    )
    const infoHash = 'ab'.repeat(20) as InfoHash
    expect(await complaints({ action: 'start', infoHash })).toMatch(/^TORRENT_UNKNOWN: /)
    expect(await complaints({ action: 'scrape', infoHash })).toMatch(/^TORRENT_UNKNOWN: /)
  })

  test('is told of nobody and listed to nobody where tokens are required, and why', async () => {
    const { ask } = await begin('token')
    const { peers, answers, complaints } = await ask({ action: 'start' })
    expect(complaints).toEqual([expect.stringContaining('requires tokens')])
    expect(peers).toEqual([])
    expect(answers).toMatchObject([{ complete: 1 }])
  })
})
