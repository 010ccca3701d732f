import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../../lab/machine/free-port.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await cluster?.close()
})
const MIB = 1024 * 1024
/** Half a second until the other node asks, what a tick and the tracker's look take, and room for a busy machine. */
const STANDSTILL_MS_MAX = 3_000

test.each([
  { name: 'stays away', downMs: undefined, leastBytes: 500_000 },
  { name: 'returns', downMs: 700, leastBytes: 500_000 },
  { name: 'stays away, and had published nothing', downMs: undefined, leastBytes: 0 },
])(
  'the only holder of a cold blob is killed and $name: the other node goes on soon',
  async ({ downMs, leastBytes }) => {
    cluster = await startTestCluster({ nodes: 0 })
    const port = await freePort()
    const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
    cluster.registry.chunkPauseMs = leastBytes > 0 ? 50 : 1_000
    const start = (request?: object) => {
      const options = { ...cluster.nodeOptions('killed'), peerListen: { host: '127.0.0.1', port } }
      const program = join(import.meta.dirname, 'node-process.ts')
      children.push(fork(program, [JSON.stringify({ options, request })], { stdio: 'inherit' }))
      return children.at(-1)!
    }
    const killed = start(cluster.request(blob))
    const sent = () => cluster.registry.sentBytes.get(blob.digest) ?? 0
    await expect.poll(sent, { timeout: 9000, interval: 10 }).toBeGreaterThan(0)
    const other = await cluster.addNode()
    const pulling = pull(other, cluster.request(blob))
    const got = () => {
      const { bytesFromPeers = 0, bytesFromRegistry = 0 } = progressOf(other, blob) ?? {}
      return bytesFromPeers + bytesFromRegistry
    }
    if (leastBytes > 0) await expect.poll(got, { timeout: 9000, interval: 10 }).toBeGreaterThan(leastBytes)
    else await expect.poll(() => progressOf(other, blob)?.peers, { timeout: 9000, interval: 10 }).toBe(1)
    const before = got()
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    cluster.registry.chunkPauseMs = 5
    const killedAtMs = performance.now()
    if (downMs !== undefined) void delay(downMs).then(() => start())
    await expect.poll(got, { timeout: 9000, interval: 10 }).toBeGreaterThan(before)
    expect(performance.now() - killedAtMs).toBeLessThan(STANDSTILL_MS_MAX)
    expect((await pulling).equals(blob.bytes)).toBe(true)
    expect(performance.now() - killedAtMs).toBeLessThan(2 * STANDSTILL_MS_MAX)
    // What the killed node had fetched and not published, or had under way, comes once more.
    expect(sent() / blob.bytes.length).toBeLessThan(2)
  },
  30_000,
)
