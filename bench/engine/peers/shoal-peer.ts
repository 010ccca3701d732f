import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pino from 'pino'
import { type BlobProgress, type BlobRequest, type Client, startClient } from '../../../client/index.ts'
import type { Digest } from '../../../core/digest.ts'
import { openRegistries, type RegistryClients } from '../../../core/registry-client.ts'
import { answerLines } from '../../measure/answer-lines.ts'
import type { ShoalPeerSettings } from '../../measure/shoal-questions.ts'

/** One Shoal node of the benchmark: the client as `shoal node` starts it, without the proxy in front. */

const POLL_MS = 5
const CACHE_BYTES_MAX = 256 * 2 ** 30
const TRACKER_PATIENCE_MS = 10_000

let registries: RegistryClients | undefined
let client: Client | undefined
/** By digest. */
const requests = new Map<string, BlobRequest>()

async function open(settings: ShoalPeerSettings) {
  registries = openRegistries([settings.registry])
  client = await startClient({
    ...settings.client,
    dataDir: settings.dataDir,
    peerListen: { host: '127.0.0.1', port: 0 },
    registries,
    cacheBytesMax: CACHE_BYTES_MAX,
    ...(settings.isEncrypted ? { cacheSecret: randomBytes(32) } : {}),
    trackerPatienceMs: TRACKER_PATIENCE_MS,
    // By default chance hashes one blob in eight twice, and a median of three would be a matter of luck.
    auditedShare: 0,
    log: pino({ level: 'warn' }, pino.destination(2)),
  })
  return { port: client.peerAddress.port }
}

/** Registers the blob of the following questions. */
async function prepare({ request }: { request: BlobRequest }) {
  requests.set(request.digest, request)
  return {}
}

/**
 * Ends when the node holds the whole blob, verified; with `isRead` also after every byte has come out of the client.
 */
async function download({ digest, isRead }: { digest: Digest; isRead: boolean }) {
  const blob = await client!.open(requests.get(digest)!)
  try {
    if (isRead) for await (const _ of blob.read(0, blob.bytes));
    while (progressOf(digest).state === 'downloading') await delay(POLL_MS)
    const { state, bytesFromRegistry } = progressOf(digest)
    if (state !== 'complete') throw new Error(`the download is ${state}`)
    return { bytesFromRegistry }
  } finally {
    blob.close()
  }
}

async function sent({ digest }: { digest: Digest }) {
  return { bytes: progressOf(digest).bytesToPeers }
}

async function contentHash({ digest }: { digest: Digest }) {
  const hash = createHash('sha256')
  const blob = await client!.open(requests.get(digest)!)
  for await (const chunk of blob.read(0, blob.bytes)) hash.update(chunk)
  blob.close()
  return { hash: hash.digest('hex') }
}

function progressOf(digest: Digest): BlobProgress {
  return client!.progress().find((progress) => progress.digest === digest)!
}

await answerLines({ open, prepare, download, sent, contentHash }, async () => {
  await client?.close()
  for (const registry of registries?.values() ?? []) await registry.close()
})
