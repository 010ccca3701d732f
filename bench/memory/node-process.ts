import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ProxyAgent } from 'undici'
import { authorityAt, progressAt } from '../../lab/local-api.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { REPOSITORY } from '../measure/blob-registry.ts'
import { BenchContentError, BenchPeerError } from '../measure/errors.ts'
import type { ShoalServices } from '../measure/shoal-questions.ts'

const PROGRAM = join(import.meta.dirname, '../../bin/shoal.js')
const START_PATIENCE_MS = 20_000
const POLL_MS = 100

/** Memory of a process by the kernel (proc(5)), in MiB. */
export interface Memory {
  /** VmRSS. */
  now: number
  /** VmHWM: the largest VmRSS so far. */
  peak: number
}

/** One `shoal node` as operators run it, and a client that pulls through its proxy. */
export interface NodeProcess {
  memory(): Memory
  /** Pulls the blob through the proxy, as Docker would. @throws BenchContentError when other bytes arrive */
  pull(blob: { name: string; bytes: number }, token: string): Promise<{ seconds: number }>
  /** Reads this many bytes a second, and disconnects after this many seconds. */
  readSlowly(
    blob: { name: string },
    token: string,
    pace: { bytesPerSecond: number; seconds: number },
  ): Promise<{ takenBytes: number }>
  bytesFromPeers(): Promise<number>
  stop(): Promise<void>
}

/** @param folder its data, configuration and secrets; created if missing */
export async function startNodeProcess(folder: string, services: ShoalServices): Promise<NodeProcess> {
  mkdirSync(folder, { recursive: true })
  const [proxyPort, adminPort] = [await freePort(), await freePort()]
  const config = writeNodeConfig(folder, services, { proxyPort, adminPort })
  const child = spawn(process.execPath, [PROGRAM, 'node', '--config-file', config], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const admin = `http://127.0.0.1:${adminPort}`
  const socket = join(folder, 'data/shoal.sock')
  await untilReady(child, admin)
  const authority = await authorityAt(socket)

  async function request(blob: { name: string }, token: string) {
    const agent = new ProxyAgent({ uri: `http://127.0.0.1:${proxyPort}`, requestTls: { ca: authority } })
    const { body } = await agent.request({
      origin: `https://${services.registry.host}`,
      path: `/v2/${REPOSITORY}/blobs/sha256:${blob.name}`,
      method: 'GET',
      headers: { authorization: `Bearer ${token}` },
    })
    return { body, agent }
  }

  return {
    memory: () => memoryOf(child.pid!),
    async pull(blob, token) {
      const startedAtMs = performance.now()
      const { body, agent } = await request(blob, token)
      const hash = createHash('sha256')
      for await (const chunk of body) hash.update(chunk as Buffer)
      const seconds = (performance.now() - startedAtMs) / 1000
      await agent.close()
      if (hash.digest('hex') !== blob.name) throw new BenchContentError('the proxy delivered other bytes')
      return { seconds }
    },
    async readSlowly(blob, token, { bytesPerSecond, seconds }) {
      const startedAtMs = performance.now()
      const { body, agent } = await request(blob, token)
      let takenBytes = 0
      for await (const chunk of body) {
        takenBytes += (chunk as Buffer).length
        const elapsedMs = performance.now() - startedAtMs
        if (elapsedMs > seconds * 1000) break
        await delay(Math.max(0, (takenBytes / bytesPerSecond) * 1000 - elapsedMs))
      }
      await agent.destroy()
      return { takenBytes }
    },
    async bytesFromPeers() {
      return (await progressAt(socket)).reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0)
    },
    async stop() {
      if (child.exitCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

/** @returns path of the configuration file, beside its secrets */
export function writeNodeConfig(
  folder: string,
  { client, registry }: ShoalServices,
  { proxyPort, adminPort }: { proxyPort: number; adminPort: number },
): string {
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const config = {
    trackerUrl: client.trackerUrl,
    trackerCaFile: write('tracker-ca.pem', client.trackerCaPem),
    joinTokenFile: write('join-token', client.joinToken),
    dataDir: join(folder, 'data'),
    proxyListen: `127.0.0.1:${proxyPort}`,
    adminListen: `127.0.0.1:${adminPort}`,
    peerListen: '127.0.0.1:0',
    registries: [registry],
    dockerCertsDir: 'none',
    attachedDir: 'none',
    logLevel: 'warn',
  }
  return write('node.json', JSON.stringify(config))
}

export async function untilReady(child: ChildProcess, admin: string): Promise<void> {
  const deadlineMs = performance.now() + START_PATIENCE_MS
  for (;;) {
    const answer = await fetch(`${admin}/healthz`).catch(() => undefined)
    if (answer?.ok) return
    if (child.exitCode !== null || performance.now() > deadlineMs) {
      child.kill('SIGKILL')
      throw new BenchPeerError('shoal node did not start')
    }
    await delay(POLL_MS)
  }
}

function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const mib = (name: string) =>
    Math.round(Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)![1]) / 1024)
  return { now: mib('VmRSS'), peak: mib('VmHWM') }
}
