import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { askLocally } from '../../lab/local-api.ts'
import { randomBlob, startTestCluster, type TestCluster } from '../pull/test-cluster.ts'
import { type LiveNode, startLiveNode } from './live-node.ts'

const MIB = 1024 * 1024

let cluster: TestCluster
let node: LiveNode
beforeEach(async () => {
  cluster = await startTestCluster({ nodes: 0 })
})
afterEach(async () => {
  node?.program.child.kill('SIGKILL')
  await cluster.close()
})

const registriesOf = async () => {
  type Status = { registries: { host: string }[] }
  const { registries } = await askLocally<Status>(join(node.dataDir, 'shoal.sock'), '/v1/status')
  return registries.map(({ host }) => host)
}

describe('a running node that is told to read its settings again', () => {
  test('takes over limits in the middle of a pull, by SIGHUP', async () => {
    const slow = { downloadBytesPerSecondMax: 256 * 1024 }
    node = await startLiveNode(cluster, 'node', slow)
    const blob = cluster.registry.add(randomBlob(12 * MIB).bytes)
    const startedMs = performance.now()
    const pulling = node.pull(blob)
    await wait(1_000)
    node.configure({ downloadBytesPerSecondMax: 0 })
    node.program.child.kill('SIGHUP')
    expect((await pulling).equals(blob.bytes)).toBe(true)
    // At the first rate it would take 48 s.
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    expect(node.log()).toContain('"changed":["downloadBytesPerSecondMax"]')
  }, 60_000)

  test('says what counts now and what needs a restart', async () => {
    node = await startLiveNode(cluster, 'node')
    const own = cluster.registry.config
    const [blob, later] = [1, 2].map(() => cluster.registry.add(randomBlob(MIB).bytes))
    node.configure({
      logLevel: 'error',
      proxyListen: '127.0.0.1:1',
      registries: [
        { ...own, permitPrivateRedirects: !own.permitPrivateRedirects },
        { host: 'other.example' },
      ],
    })
    const first = await node.shoal('reload')
    expect(first).toMatchObject({
      code: 0,
      stdout: 'Changed: registries, logLevel.\nNeeds a restart: proxyListen.\n',
    })
    expect(await registriesOf()).toEqual([own.host, 'other.example'])
    expect((await node.pull(blob!)).equals(blob!.bytes)).toBe(true)
    node.configure({ proxyListen: '127.0.0.1:1' })
    expect((await node.shoal('reload')).stdout).toBe(
      'Changed: registries, logLevel.\nNeeds a restart: proxyListen.\n',
    )
    expect(await registriesOf()).toEqual([own.host])
    expect((await node.pull(later!)).equals(later!.bytes)).toBe(true)
    expect(node.log()).toContain(`"digest":"${later!.digest}"`)
    expect(node.log()).not.toContain(blob!.digest)
  }, 60_000)

  test('says where it stands from then on', async () => {
    node = await startLiveNode(cluster, 'node')
    type Status = { node: { zone: string; rack: string } }
    const status = () => askLocally<Status>(join(node.dataDir, 'shoal.sock'), '/v1/status')
    expect((await status()).node).toMatchObject({ zone: '', rack: '' })
    node.configure({ zone: 'west', rack: 'r1' })
    expect((await node.shoal('reload')).stdout).toBe('Changed: zone, rack.\n')
    expect((await status()).node).toMatchObject({ zone: 'west', rack: 'r1' })
    node.configure({ rack: 'r1' })
    expect((await node.shoal('reload')).stderr).toContain('Set zone too')
    expect((await status()).node).toMatchObject({ zone: 'west', rack: 'r1' })
  }, 60_000)

  test('changes nothing where settings cannot be used, and says why', async () => {
    node = await startLiveNode(cluster, 'node')
    const missing = { host: 'other.example', caFile: '/nowhere/ca.pem' }
    for (const [wrong, named] of [
      [{ uploadBytesPerSecondMax: -1 }, 'uploadBytesPerSecondMax'],
      [{ uploadBytesPerSecond: 1 }, 'Did you mean uploadBytesPerSecondMax?'],
      [{ registries: [missing] }, '/nowhere/ca.pem'],
    ] as const) {
      node.configure({ ...wrong, logLevel: 'debug' })
      const refused = await node.shoal('reload')
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain(named)
      expect(await registriesOf()).toEqual([cluster.registry.host])
    }
    expect(node.log().match(/the settings stay as they are/g)).toHaveLength(3)
    expect(node.log()).not.toContain('"level":"debug"')
    node.configure({})
    expect((await node.shoal('reload')).stdout).toBe(
      'No setting that can change while the node runs has changed.\n',
    )
  }, 60_000)
})

describe('a node that is told to stop', () => {
  /** A pull whose answer has begun. */
  async function startPull(bytes: number, chunkPauseMs: number) {
    node = await startLiveNode(cluster, 'node')
    const blob = cluster.registry.add(randomBlob(bytes).bytes)
    cluster.registry.chunkPauseMs = chunkPauseMs
    const pulling = node.pull(blob).catch(() => Buffer.alloc(0))
    while ((cluster.registry.sentBytes.get(blob.digest) ?? 0) === 0) await wait(20)
    return { blob, pulling, exited: once(node.program.child, 'exit') }
  }

  /** Signals, and waits until the node takes no new connection. */
  async function stop(): Promise<void> {
    node.program.child.kill('SIGTERM')
    while (await isOpen(node.proxyPort)) await wait(20)
  }

  test('finishes the answers that have begun, takes no new connection, and ends', async () => {
    const { blob, pulling, exited } = await startPull(2 * MIB, 150)
    await stop()
    expect(node.program.child.exitCode).toBe(null)
    expect((await pulling).equals(blob.bytes)).toBe(true)
    expect((await exited)[0]).toBe(0)
  }, 60_000)

  test('ends at once by a second signal', async () => {
    const { blob, pulling, exited } = await startPull(16 * MIB, 500)
    await stop()
    // Sooner it would be the same Ctrl-C.
    await wait(1_500)
    expect(node.program.child.exitCode).toBe(null)
    node.program.child.kill('SIGTERM')
    expect((await exited)[1]).toBe('SIGTERM')
    expect((await pulling).length).toBeLessThan(blob.bytes.length)
  }, 60_000)
})

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const opened = once(socket, 'connect').then(
    () => true,
    () => false,
  )
  const isOpened = await opened
  socket.destroy()
  return isOpened
}
