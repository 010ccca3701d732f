import { once } from 'node:events'
import { createServer } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import type { NodeId } from '../../core/metainfo.ts'
import { issueForLocalhost } from '../../lab/machine/localhost-certificate.ts'
import { pull, randomBlob, startTestCluster, type TestCluster, type TestNode } from './test-cluster.ts'

/** A node that asks whether it is reached, and reaches others. */

let cluster: TestCluster
const closing: (() => void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) close()
  await cluster.close()
})

/** Listens where the tracker, which sees the node at 127.0.0.1, does not look. */
const elsewhere = { peerListen: { host: '127.0.0.2', port: 0 } }
/** A node hears only of others with a blob that it was granted, too. */
async function sharing(...nodes: TestNode[]): Promise<void> {
  const blob = cluster.registry.add(randomBlob(100_000).bytes)
  for (const node of nodes) await pull(node, cluster.request(blob))
}
const idOf = ({ client }: TestNode) => client.status().joined!.node as NodeId

test('the tracker finishes a handshake with the node that asks, and that node one with another', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [first, second] = cluster.nodes as [TestNode, TestNode]
  await sharing(first, second)
  const before = second.client.status().peers.connected
  const { own, other, nodes } = await first.client.reach()
  expect(own).toEqual({
    ...first.client.peerAddress,
    address: '127.0.0.1',
    host: undefined,
    outcome: 'reached',
  })
  expect(other).toMatchObject({ node: idOf(second), port: second.client.peerAddress.port })
  expect(other!.link).toEqual({ outcome: 'linked' })
  expect(nodes).toBe(2)
  // The tracker's dial shows no certificate, which is no news for the node's status.
  expect(first.client.status().peers.events.refused).toBe(0)
  await expect.poll(() => second.client.status().peers.connected).toBeLessThanOrEqual(before)
})

test('a node that joined and was granted nothing hears of no other, whatever it asks', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [first, second] = cluster.nodes as [TestNode, TestNode]
  const stranger = await cluster.addNode({})
  await sharing(first, second)
  for (const asked of [undefined, idOf(first), idOf(second)]) {
    const { other, nodes } = await stranger.client.reach(asked)
    expect([other, nodes]).toEqual([null, 3])
  }
})

test('a port at which nobody listens differs from one of somebody else', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: elsewhere })
  const { port } = node.client.peerAddress
  const outcome = async () => (await node.client.reach()).own?.outcome
  expect(await outcome()).toBe('refused')
  const leaf = await issueForLocalhost(cluster.registry.authority)
  const other = createServer({ cert: leaf.certificatePem, key: leaf.privateKeyPem }).listen(port, '127.0.0.1')
  closing.push(() => other.close())
  await once(other, 'listening')
  expect(await outcome()).toBe('foreign')
})

test('another node of the cluster does not pass for the one that asks', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const node = await cluster.addNode({ client: elsewhere })
  const { port } = node.client.peerAddress
  await cluster.addNode({ client: { peerListen: { host: '127.0.0.1', port } } })
  expect((await node.client.reach()).own?.outcome).toBe('foreign')
})

test('a node that is named is told of, one of another cluster or a revoked one is not', async () => {
  cluster = await startTestCluster({ nodes: 2 })
  const [first, second] = cluster.nodes as [TestNode, TestNode]
  const { joinToken } = await cluster.newCluster()
  const foreign = await cluster.addNode({ joinToken })
  const toldOf = async (node: NodeId) => (await first.client.reach(node)).other?.node
  expect(await toldOf(idOf(second))).toBeUndefined()
  await sharing(first, second)
  expect(await toldOf(idOf(second))).toBe(idOf(second))
  expect(await toldOf(idOf(foreign))).toBeUndefined()
  const { status } = await cluster.admin('/admin/v1/revocations', {
    cluster: cluster.id,
    node: idOf(second),
  })
  expect(status).toBeLessThan(300)
  expect(await toldOf(idOf(second))).toBeUndefined()
})

test('a peer that cannot be reached is unreachable, with the reason', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const hidden = await cluster.addNode({ client: elsewhere })
  await sharing(cluster.nodes[0]!, hidden)
  const { other } = await cluster.nodes[0]!.client.reach()
  expect(other!.link).toMatchObject({
    outcome: 'unreachable',
    reason: expect.stringContaining('ECONNREFUSED'),
  })
})

test('a node that asks again and again is refused after a few calls', async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [node] = cluster.nodes as [TestNode]
  const codes: string[] = []
  for (let call = 0; call < 8; call += 1) {
    codes.push(
      await node.client.reach().then(
        () => 'ok',
        (error: { trackerCode: string }) => error.trackerCode,
      ),
    )
  }
  expect(codes).toEqual([...Array(6).fill('ok'), 'REQUESTS_TOO_MANY', 'REQUESTS_TOO_MANY'])
})
