import { createHash, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { makeAuthority } from '../../../core/issue-certificate.ts'
import { type RegistryConfig, registryConfig } from '../../../core/registry-config.ts'
import { untilConfirmed } from '../../../lab/confirmed-swarms.ts'
import { issueForLocalhost } from '../../../lab/machine/localhost-certificate.ts'
import { trackerConfig } from '../../../tracker/config.ts'
import { type RunningTracker, startTracker } from '../../../tracker/main.ts'
import { answerLines } from '../../measure/answer-lines.ts'
import { type BlobRegistry, startBlobRegistry } from '../../measure/blob-registry.ts'
import type { ShoalServices } from '../../measure/shoal-questions.ts'

/** The services of Shoal's nodes in one process: a tracker, and a registry with tokens. */

const CERTIFICATE_SECONDS = 24 * 3600
/** Frequent, so that nodes of an earlier transfer are soon forgotten. */
const HEARTBEAT_SECONDS = 1

let tracker: RunningTracker | undefined
let trackerDataDir = ''
let registry: BlobRegistry | undefined

interface Opening {
  folder: string
  heartbeatSeconds?: number
}

async function open({ folder, heartbeatSeconds = HEARTBEAT_SECONDS }: Opening): Promise<ShoalServices> {
  const write = async (name: string, text: string) => {
    await writeFile(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const authority = await makeAuthority({ commonName: 'benchmark', validForSeconds: CERTIFICATE_SECONDS })
  const tls = await issueForLocalhost(authority, CERTIFICATE_SECONDS)
  registry = await startBlobRegistry(tls)
  const caFile = await write('authority.pem', authority.certificatePem)
  const config = registryConfig.parse({ host: registry.host, caFile })
  trackerDataDir = join(folder, 'tracker')
  tracker = await startTracker(
    trackerConfig.parse({
      listen: '127.0.0.1:0',
      adminListen: '127.0.0.1:0',
      tlsCertFile: await write('tracker.crt', tls.certificatePem),
      tlsKeyFile: await write('tracker.key', tls.privateKeyPem),
      dataDir: trackerDataDir,
      unlockKeyFile: await write('unlock-key', `SHOALKEY-1-${randomBytes(32).toString('base64url')}`),
      registries: [config],
      heartbeatSeconds,
    }),
    pino({ level: 'warn' }, pino.destination(2)),
  )
  return nodeSettings(tracker, config, authority.certificatePem)
}

async function nodeSettings(
  running: RunningTracker,
  config: RegistryConfig,
  trackerCaPem: string,
): Promise<ShoalServices> {
  const cluster = `c${randomBytes(8).toString('hex')}`
  const joinToken = `SHOAL-1-${cluster}-${randomBytes(32).toString('base64url')}`
  const joinTokenHash = createHash('sha256').update(joinToken).digest('hex')
  const created = { cluster, name: 'benchmark', joinTokenHash }
  await running.createCluster(created as Parameters<RunningTracker['createCluster']>[0])
  return {
    client: { trackerUrl: `https://localhost:${running.address.port}`, trackerCaPem, joinToken },
    registry: config,
    peersForgottenAfterMs: HEARTBEAT_SECONDS * 1000 * HEARTBEATS_UNTIL_GONE,
  }
}

/** One more than the tracker lets a node miss. */
const HEARTBEATS_UNTIL_GONE = 4

async function add(blob: { name: string; path: string; bytes: number }) {
  registry!.add(blob)
  return {}
}

async function token() {
  return { token: await registry!.issueToken() }
}

async function sent({ name }: { name: string }) {
  return { bytes: registry!.sentBytes(name) }
}

/** Answers when the tracker has confirmed this many blobs. */
async function confirmed({ swarms }: { swarms: number }) {
  await untilConfirmed(trackerDataDir, swarms)
  return {}
}

await answerLines({ open, add, token, sent, confirmed }, async () => {
  await tracker?.close()
  await registry?.close()
})
