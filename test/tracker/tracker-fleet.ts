import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Agent, request } from 'undici'
import type { BlobRequest } from '../../client/client.ts'
import { OWN_PROGRAM } from '../../lab/loopback/cluster.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { type LabProcess, LabProcesses } from '../../lab/machine/processes.ts'
import { type FreezablePort, freezablePort } from '../pull/freezable-port.ts'
import {
  callAdmin,
  makeJoinToken,
  randomBlob,
  startTestCluster,
  type TestBlob,
  type TestCluster,
  type TestNode,
} from '../pull/test-cluster.ts'
import type { TestDatabase } from './test-database.ts'

/** Several trackers on one database, each a program of its own, and nodes that pull through all of them while things fail. */

const MIB = 1024 * 1024
/** Long enough for several leases of two requests each. */
const BLOB_BYTES = 12 * MIB
/** 64 KiB at a time: a cold blob takes a second, so that a fault finds pulls under way. */
const REGISTRY_PAUSE_MS = 6
const READY_MS_MAX = 30_000
/** Pulls go on for so long before a fault and after it. */
const BEFORE_MS = 1_000
/** Until the other trackers have heard of a new cluster. */
const HEARD_MS = 500

export interface FleetTracker {
  /** In front of it, for nodes. */
  readonly door: FreezablePort
  /** Between it and the database. */
  readonly line: FreezablePort
  readonly dataDir: string
  readonly port: number
  part: LabProcess
  /** Starts it again, with another program or clock if told so. */
  start(how?: { program?: string; env?: Record<string, string>; settings?: object }): Promise<void>
}

export interface Fleet {
  readonly cluster: TestCluster
  readonly trackers: readonly FleetTracker[]
  /** Runs the fault while all nodes pull one new blob after the other. */
  during(fault: () => Promise<void>): Promise<Figures>
  close(): Promise<void>
}

export interface Figures {
  pulls: number
  /** Broken off after their first byte, or with wrong bytes: Docker's pull fails. */
  failed: number
  /** Answered by the registry alone: the client gave up before the first byte, and the proxy steps in. */
  direct: number
  /** Bytes that left the registry, over those of all blobs. */
  copies: number
  longestSeconds: number
}

export async function startFleet(
  database: TestDatabase,
  options: { trackers: number; nodes: number; program?: string },
): Promise<Fleet> {
  // Its own tracker ends before it has done anything: the cluster is made at the fleet.
  const cluster = await startTestCluster({ nodes: 0, configuresKeys: true })
  await cluster.stopTracker()
  const logs = join(cluster.folder, 'logs')
  mkdirSync(logs)
  const processes = new LabProcesses(logs)
  const registry = {
    ...{ host: cluster.registry.host, caFile: cluster.registry.config.caFile },
    ...{ issuer: 'token server', audience: 'registry' },
    tokenKeysFile: cluster.registry.writeFile(
      'keys.json',
      JSON.stringify({ keys: [cluster.signer.publicJwk] }),
    ),
  }
  const trackers: FleetTracker[] = []
  for (let at = 1; at <= options.trackers; at += 1) trackers.push(await makeTracker(at))
  await Promise.all(trackers.map((tracker) => tracker.start()))
  const { cluster: id, joinToken, joinTokenHash } = makeJoinToken()
  const made = await callAdmin(trackers[0]!.dataDir, '/admin/v1/clusters', {
    cluster: id,
    name: id,
    joinTokenHash,
  })
  if (made.status !== 201) throw new Error(`no cluster: ${JSON.stringify(made.body)}`)
  await delay(HEARD_MS)
  const urls = trackers.map(({ door }) => `https://localhost:${door.port}`)
  for (let at = 0; at < options.nodes; at += 1) {
    const first = at % urls.length
    const trackerUrl = [...urls.slice(first), ...urls.slice(0, first)].join(',')
    await cluster.addNode({ joinToken, client: { trackerUrl, trackerPatienceMs: 1_500 } })
  }
  const dispatcher = new Agent({ connect: { ca: cluster.registry.authority.certificatePem } })

  async function makeTracker(at: number): Promise<FleetTracker> {
    const port = await freePort()
    const adminPort = await freePort()
    const [door, line] = [await freezablePort(port), await freezablePort(database.server.port)]
    const dataDir = join(cluster.folder, `fleet${at}`)
    const config = {
      ...{ listen: `127.0.0.1:${port}`, adminListen: `127.0.0.1:${adminPort}`, dataDir },
      ...{
        tlsCertFile: join(cluster.folder, 'tracker.crt'),
        tlsKeyFile: join(cluster.folder, 'tracker.key'),
      },
      unlockKeyFile: join(cluster.folder, 'unlock'),
      ...{ registries: [registry], heartbeatSeconds: 1, pullsPerMinuteMax: 0 },
      ...database.config,
    }
    const tracker: FleetTracker = {
      ...{ door, line, dataDir, port },
      part: undefined as never,
      async start({ program = options.program ?? OWN_PROGRAM, env = {}, settings = {} } = {}) {
        const path = join(cluster.folder, `fleet${at}.json`)
        const databaseUrl = database.server.url().replace(/:\d+\//, `:${line.port}/`)
        writeFileSync(path, JSON.stringify({ ...config, databaseUrl, ...settings }))
        const argv = [process.execPath, program, 'tracker', '--config-file', path]
        tracker.part = processes.start({ name: `tracker${at}`, argv, env })
        await untilItServes(tracker)
      },
    }
    return tracker
  }

  /** As the proxy does: until its first byte the registry steps in. */
  async function pullLikeAProxy(node: TestNode, blob: TestBlob): Promise<'shared' | 'direct' | 'failed'> {
    const question = cluster.request(blob)
    const chunks: Uint8Array[] = []
    try {
      const open = await node.client.open(question)
      try {
        for await (const chunk of open.read(0, open.bytes)) chunks.push(Buffer.from(chunk))
      } finally {
        open.close()
      }
    } catch {
      if (chunks.length > 0) return 'failed'
      return (await fromRegistry(question)).equals(blob.bytes) ? 'direct' : 'failed'
    }
    return Buffer.concat(chunks).equals(blob.bytes) ? 'shared' : 'failed'
  }

  async function fromRegistry({
    registry: host,
    repository,
    digest,
    credential,
  }: BlobRequest): Promise<Buffer> {
    const token = credential.scheme === 'bearer' ? credential.token : ''
    const headers = { authorization: `Bearer ${token}` }
    const answer = await request(`https://${host}/v2/${repository}/blobs/${digest}`, { headers, dispatcher })
    return Buffer.from(await answer.body.arrayBuffer())
  }

  const fleet: Fleet = {
    cluster,
    trackers,
    async during(fault) {
      cluster.registry.chunkPauseMs = REGISTRY_PAUSE_MS
      const figures = { pulls: 0, failed: 0, direct: 0, copies: 0, longestSeconds: 0 }
      let isOver = false
      const injecting = delay(BEFORE_MS)
        .then(fault)
        .then(() => delay(BEFORE_MS))
        .finally(() => {
          isOver = true
        })
      let blobs = 0
      let sentBytes = 0
      const onePull = async (node: TestNode, blob: TestBlob) => {
        const beganMs = performance.now()
        const how = await pullLikeAProxy(node, blob)
        figures.pulls += 1
        if (how !== 'shared') figures[how] += 1
        figures.longestSeconds = Math.max(figures.longestSeconds, (performance.now() - beganMs) / 1000)
      }
      do {
        const blob = cluster.registry.add(randomBlob(BLOB_BYTES).bytes)
        await Promise.all(cluster.nodes.map((node) => onePull(node, blob)))
        blobs += 1
        sentBytes += cluster.registry.sentBytes.get(blob.digest) ?? 0
      } while (!isOver)
      await injecting
      figures.copies = Number((sentBytes / (blobs * BLOB_BYTES)).toFixed(2))
      figures.longestSeconds = Number(figures.longestSeconds.toFixed(1))
      return figures
    },
    async close() {
      for (const { part } of trackers) part?.kill('SIGCONT')
      await processes.close()
      for (const { door, line } of trackers) for (const port of [door, line]) await port.close()
      await dispatcher.close()
      await cluster.close()
    },
  }
  return fleet
}

/** @throws if the program ends before */
async function untilItServes({ part }: FleetTracker): Promise<void> {
  const untilMs = Date.now() + READY_MS_MAX
  const said = () => readFileSync(part.logFile, 'utf8') + readFileSync(part.errorLogFile, 'utf8')
  const before = said().split(READY).length
  while (said().split(READY).length === before) {
    if (!part.isRunning() || Date.now() > untilMs)
      throw new Error(`a tracker does not start: ${said().slice(-2000)}`)
    await delay(50)
  }
}

const READY = 'the tracker is ready'
