import { generateKeyPairSync } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import { joinResponse } from '../../core/join-api.ts'
import { swarmIdOf } from '../../core/metainfo.ts'
import type { HeartbeatRequest, PullRequest } from '../../core/tracker-api.ts'
import { answerLines } from '../measure/answer-lines.ts'
import { REPOSITORY } from '../measure/blob-registry.ts'
import { HttpConnection, postRequest } from './http-connection.ts'
import type { LoadSettings, MeasureQuestion } from './questions.ts'
import { type Operation, p99Of, type Sample } from './report.ts'

/** The load generator: nodes that send one request after the other, each over its own connection. */

/** One heartbeat in this many is of a downloading node, and asks for peers. */
const HEARTBEATS_PER_PEER_QUESTION = 8
const LISTEN_PORT = 7071
/** Nodes that join at the same time: more would only wait for their handshakes. */
const JOINING_MAX = 64

let settings: LoadSettings
const connections: HttpConnection[] = []
/** Unsent requests for grants: each has its own key and token. */
const grants: Buffer[] = []
let heartbeats: Buffer[] = []

async function open(given: LoadSettings) {
  settings = given
  while (connections.length < settings.connections) {
    const joining = Math.min(JOINING_MAX, settings.connections - connections.length)
    connections.push(...(await Promise.all(Array.from({ length: joining }, joinAndConnect))))
  }
  heartbeats = await makeHeartbeats()
  for (const connection of connections) await connection.exchange(inventory())
  return {}
}

function tracker(): ConnectionOptions {
  return { host: '127.0.0.1', port: settings.port, servername: 'localhost', ca: settings.trackerCaPem }
}

async function joinAndConnect(): Promise<HttpConnection> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const joining = await HttpConnection.open(tracker())
  const { joinToken } = settings
  const request = postRequest('/v1/nodes', { joinToken, publicKey: publicKey.toString('base64url') })
  const joined = joinResponse.parse(JSON.parse((await joining.exchange(request)).toString()))
  joining.close()
  return HttpConnection.open({ ...tracker(), cert: joined.certificate, key: privateKey })
}

/** Prepares a grant for every token. */
async function prepare({ tokens }: { tokens: string[] }) {
  for (const token of tokens) {
    const { publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'der' },
      privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    })
    const request: PullRequest = {
      registry: settings.registry,
      repository: REPOSITORY,
      credential: { scheme: 'bearer', token },
      publicKey: publicKey.toString('base64url'),
      listenPort: LISTEN_PORT,
      blobs: settings.images[grants.length % settings.images.length]!.map((blob) => {
        return { ...blob, isWanted: true }
      }),
    }
    grants.push(postRequest('/v1/pulls', request))
  }
  return { prepared: grants.length }
}

/** The heartbeats of a node with nothing new and of a downloading node. */
async function makeHeartbeats(): Promise<Buffer[]> {
  return Array.from({ length: HEARTBEATS_PER_PEER_QUESTION }, (_, index) =>
    postRequest('/v1/heartbeat', heartbeat({ wantsPeers: index === 0 ? swarms().slice(0, 1) : [] })),
  )
}

/** A full inventory, sent once: the node holds every blob completely. */
function inventory(): Buffer {
  const holds = swarms().map((swarm) => ({ swarm, isSeed: true }))
  return postRequest('/v1/heartbeat', heartbeat({ isFullInventory: true, holds }))
}

function heartbeat(changes: Partial<HeartbeatRequest>): HeartbeatRequest {
  return {
    listenPort: LISTEN_PORT,
    isFullInventory: false,
    holds: [],
    dropped: [],
    wantsPeers: [],
    badPeers: [],
    servePublicKey: null,
    revocationsVersion: 0,
    ...changes,
  }
}

function swarms() {
  const cluster = settings.joinToken.split('-')[2] as Parameters<typeof swarmIdOf>[0]['cluster']
  const { registry } = settings
  return settings.images.flat().map((blob) => swarmIdOf({ cluster, registry, ...blob }))
}

/** Ends early when every prepared grant has been sent; the result has the time that this took. */
async function measure({ operation, seconds }: MeasureQuestion): Promise<Sample> {
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1000
  const tookMs: number[] = []
  let bytes = 0
  const nextRequest = requestsOf(operation)
  const run = async (connection: HttpConnection) => {
    for (let sentMs = performance.now(); sentMs < untilMs; ) {
      const request = nextRequest()
      if (request === undefined) return
      const answer = await connection.exchange(request)
      bytes += answer.length
      const answeredMs = performance.now()
      tookMs.push(answeredMs - sentMs)
      sentMs = answeredMs
    }
  }
  await Promise.all(connections.map(run))
  const tookSeconds = (performance.now() - startedMs) / 1000
  return { operation, answers: tookMs.length, seconds: tookSeconds, p99Ms: p99Of(tookMs), bytes }
}

function requestsOf(operation: Operation): () => Buffer | undefined {
  if (operation === 'grant') return () => grants.pop()
  let sent = 0
  return () => heartbeats[sent++ % heartbeats.length]
}

await answerLines({ open, prepare, measure }, async () => {
  for (const connection of connections) connection.close()
})
