import { afterEach, expect, test } from 'vitest'
import { WIRE_VERSION_FIRST, WIRE_VERSION_LINKS } from '../../core/wire-version.ts'
import { connectionsTo } from './connections.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
afterEach(() => cluster?.close())
const MIB = 1024 * 1024
const CERTIFICATE_SECONDS = 6

test.each([
  [WIRE_VERSION_FIRST, 'on new connections'],
  [WIRE_VERSION_LINKS, 'on the link that there is'],
])(
  'a download that outlives two pull certificates goes on from peers alone, with version %i %s',
  async (wire) => {
    cluster = await startTestCluster({ nodes: 1, pullCertificateSeconds: CERTIFICATE_SECONDS })
    const [holder] = cluster.nodes
    const blob = cluster.registry.add(randomBlob(14 * MIB).bytes)
    await pull(holder!, cluster.request(blob))
    const slow = await cluster.addNode({ client: { wire, downloadBytesPerSecondMax: MIB } })
    const seen = new Map<string, number>()
    const startedAtMs = Date.now()
    const watching = setInterval(() => {
      for (const remote of connectionsTo(holder!.client.peerAddress.port)) seen.set(remote, Date.now())
    }, 100)
    try {
      expect((await pull(slow, cluster.request(blob))).equals(blob.bytes)).toBe(true)
    } finally {
      clearInterval(watching)
    }
    expect(Date.now() - startedAtMs).toBeGreaterThan(2 * CERTIFICATE_SECONDS * 1000)
    expect(progressOf(slow, blob)).toMatchObject({ bytesFromPeers: blob.bytes.length, bytesFromRegistry: 0 })
    expect(cluster.registry.sentBytes.get(blob.digest)).toBe(blob.bytes.length)
    if (wire === WIRE_VERSION_LINKS) return void expect(seen.size).toBe(1)
    // Renewed at two thirds: every connection was replaced, and none was seen after its certificate had ended.
    expect(seen.size).toBeGreaterThanOrEqual(3)
    const first = [...seen.values()].sort((a, b) => a - b)[0]!
    expect(first - startedAtMs).toBeLessThan((CERTIFICATE_SECONDS + 1) * 1000)
  },
  60_000,
)

test('a node that only serves keeps no connection of one blob to a peer whose certificate has ended', async () => {
  cluster = await startTestCluster({ nodes: 1, pullCertificateSeconds: CERTIFICATE_SECONDS })
  const [holder] = cluster.nodes
  const downloader = await cluster.addNode({ client: { wire: WIRE_VERSION_FIRST } })
  const blob = cluster.registry.add(randomBlob(MIB).bytes)
  await pull(holder!, cluster.request(blob))
  await pull(downloader, cluster.request(blob))
  const { port } = holder!.client.peerAddress
  expect(connectionsTo(port)).toHaveLength(1)
  await expect
    .poll(() => connectionsTo(port).length, { timeout: (CERTIFICATE_SECONDS + 2) * 1000, interval: 200 })
    .toBe(0)
}, 30_000)
