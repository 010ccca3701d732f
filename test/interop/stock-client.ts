import { createHash } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent } from 'undici'
import { makeKey } from '../../client/membership/node-identity.ts'
import { type BencodedDictionary, decodeBencode } from '../../core/bencode.ts'
import { pieceLayout, type SwarmId, swarmIdOf } from '../../core/metainfo.ts'
import { type Credential, errorBody } from '../../core/tracker-api.ts'
import { unwatchedTracker } from '../client/membership/unwatched-tracker.ts'
import type { TestBlob, TestCluster } from '../pull/test-cluster.ts'

/** What someone has who uses a stock BitTorrent client: a real pull certificate, and the tracker's three routes. */
export interface StockClient {
  swarm: SwarmId
  /** Files. */
  certificate: string
  key: string
  /** Empty, of its own; is gone with the cluster's folder. */
  folder: string
  /** GET below the swarm's path, with the pull certificate. */
  get(path: string): Promise<{ status: number; body: Buffer; type: string }>
  /**
   * Waits for the torrent: the node computes its hashes after the pull, and a second node, which has no part in anything
   * else, brings the same. @returns its path
   */
  fetchTorrent(): Promise<string>
  announce(
    infoHash: string,
    query: { port: number; left: number; event?: string },
  ): Promise<BencodedDictionary>
  close(): Promise<void>
}

/**
 * A node that holds the blob and says so to the tracker alone: no peer learns of it.
 * @returns what has it say its word, if the tracker asks for it by now
 */
async function secondHolder(cluster: TestCluster, blob: TestBlob, credential: Credential) {
  const access = cluster.nodeOptions('second') as {
    trackerUrl: string
    trackerCaPem: string
    joinToken: string
  }
  const tracker = unwatchedTracker(access)
  const [key, pullKey] = [makeKey(), makeKey()]
  const publicKey = key.spki.toString('base64url')
  const joined = await tracker.join({ joinToken: access.joinToken, publicKey })
  tracker.identify({ certificatePem: joined.certificate, privateKeyPem: key.privateKeyPem })
  const { registry, repository, digest } = cluster.request(blob)
  const { swarms } = await tracker.pull(
    {
      ...{ registry, repository, credential, listenPort: 9 },
      publicKey: pullKey.spki.toString('base64url'),
      blobs: [{ digest, bytes: blob.bytes.length, isWanted: false }],
    },
    10_000,
  )
  const { swarm, epoch } = swarms[0]!
  const complete = (piecesSha1: string | null) =>
    tracker.complete(swarm, { epoch, matched: 'whole', piecesSha1 })
  const inventory = { isFullInventory: true, holds: [], dropped: [], wantsPeers: [], badPeers: [] }
  return {
    async speak() {
      const { wantsSha1 } = await complete(null)
      if (wantsSha1) await complete(sha1OfPieces(blob).toString('base64url'))
      await tracker.heartbeat({ ...inventory, listenPort: 9, servePublicKey: null, revocationsVersion: 0 })
    },
    close: () => tracker.close(),
  }
}

function sha1OfPieces({ bytes }: TestBlob): Buffer {
  const { pieceBytes, pieceCount } = pieceLayout(bytes.length)
  const pieces = Array.from({ length: pieceCount }, (_, at) =>
    bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
  )
  return Buffer.concat(pieces.map((piece) => createHash('sha1').update(piece).digest()))
}

const TORRENT_MS_MAX = 10_000
const RETRY_MS = 50

/** Joins the cluster as a node of its own, and has a pull granted, as anyone with the rights of a node can. */
export async function becomeStockClient(
  cluster: TestCluster,
  blob: TestBlob,
  options: { credential: Credential; listenPort?: number },
): Promise<StockClient> {
  const access = cluster.nodeOptions('stock') as {
    trackerUrl: string
    trackerCaPem: string
    joinToken: string
  }
  const folder = mkdtempSync(join(cluster.folder, 'stock-'))
  const key = makeKey()
  const tracker = unwatchedTracker(access)
  const joined = await tracker.join({
    joinToken: access.joinToken,
    publicKey: key.spki.toString('base64url'),
  })
  tracker.identify({ certificatePem: joined.certificate, privateKeyPem: key.privateKeyPem })
  const pullKey = makeKey()
  const { registry, repository, digest } = cluster.request(blob)
  const bytes = blob.bytes.length
  const { certificate } = await tracker.pull(
    {
      registry,
      repository,
      credential: options.credential,
      publicKey: pullKey.spki.toString('base64url'),
      listenPort: options.listenPort ?? 9,
      blobs: [{ digest, bytes, isWanted: false }],
    },
    10_000,
  )
  await tracker.close()
  const write = (name: string, content: string | Buffer) => {
    writeFileSync(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const swarm = swarmIdOf({ cluster: joined.cluster, registry, digest, bytes })
  const connect = { ca: access.trackerCaPem, cert: certificate, key: pullKey.privateKeyPem }
  const agent = new Agent({ connect })
  const get: StockClient['get'] = async (path) => {
    const request = { origin: access.trackerUrl, path: `/v1/swarms/${swarm}/${path}`, method: 'GET' } as const
    const { statusCode, headers, body } = await agent.request(request)
    const type = String(headers['content-type'])
    return { status: statusCode, body: Buffer.from(await body.arrayBuffer()), type }
  }
  return {
    swarm,
    certificate: write('pull.pem', certificate),
    key: write('pull-key.pem', pullKey.privateKeyPem),
    folder,
    get,
    async fetchTorrent() {
      const endMs = Date.now() + TORRENT_MS_MAX
      const second = await secondHolder(cluster, blob, options.credential)
      try {
        for (;;) {
          const { status, body } = await get('torrent')
          if (status === 200) return write('blob.torrent', body)
          const { code } = errorBody.parse(JSON.parse(String(body))).error
          if (code !== 'TORRENT_PENDING' || Date.now() > endMs) throw new Error(`no torrent: ${code}`)
          await second.speak()
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
        }
      } finally {
        await second.close()
      }
    },
    async announce(infoHash, { port, left, event }) {
      const hash = infoHash.replace(/../g, '%$&')
      const peerId = '-XX0001-000000000000'
      const query = `info_hash=${hash}&peer_id=${peerId}&port=${port}&left=${left}&uploaded=0&downloaded=0&compact=1`
      const { body } = await get(`announce?${query}${event === undefined ? '' : `&event=${event}`}`)
      return decodeBencode(body) as BencodedDictionary
    },
    close: () => agent.destroy(),
  }
}
