import { afterEach, expect, test } from 'vitest'
import { ACCEPTED_MAX } from '../../client/peer/peer-listener.ts'
import { LINKS_MAX } from '../../client/swarm/swarm-links.ts'
import { AttackLine, enrol, type Member, proverFor, swarmOf } from '../attacks/attacker.ts'
import { connectionsTo } from './connections.ts'
import { progressOf, pull, randomBlob, startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
const members: Member[] = []
afterEach(async () => {
  for (const member of members.splice(0)) await member.tracker.close()
  await cluster?.close()
})
const MIB = 1024 * 1024
const CROWD = 100
const BLOCK_BYTES = 128 * 1024

/** Proves its token on a new connection, and asks for a block where it is let in. */
async function askForBlock(line: AttackLine, member: Member, swarm: string, token: string): Promise<void> {
  if (!(await line.ready)) return
  line.sendHandshakes(swarm as Parameters<AttackLine['sendHandshakes']>[0], member.node)
  const prover = proverFor(cluster, token)
  line.sendProof({ signingInput: prover.signingInput, proof: prover.prove(line.binding()) })
  line.send({ type: 'request', piece: 0, begin: 0, length: BLOCK_BYTES })
}

test(`${CROWD} members who dial one node at once: it serves no fewer than it keeps links, in bounded memory`, async () => {
  cluster = await startTestCluster({ nodes: 1 })
  const [holder] = cluster.nodes
  const blob = cluster.registry.add(randomBlob(4 * MIB).bytes)
  await pull(holder!, cluster.request(blob))
  const { credential } = cluster.request(blob)
  const token = credential.scheme === 'bearer' ? credential.token : ''
  for (let count = 0; count < CROWD; count++) members.push(await enrol(cluster))
  const swarm = swarmOf(members[0]!, cluster, blob)
  const certificates = await Promise.all(members.map((member) => member.pull(cluster, blob, token)))
  const before = process.memoryUsage().rss
  const lines = members.map(
    ({ authorities }, at) =>
      new AttackLine({
        node: holder!,
        authorities,
        certificate: certificates[at]!.certificate,
        sni: swarm,
      }),
  )
  try {
    expect(lines.length).toBeLessThan(ACCEPTED_MAX)
    await Promise.all(lines.map((line, at) => askForBlock(line, members[at]!, swarm, token)))
    const served = () => lines.filter(({ blockBytes }) => blockBytes === BLOCK_BYTES).length
    // Whoever was served and asks for nothing more makes room for others.
    await expect.poll(served, { timeout: 10_000 }).toBeGreaterThanOrEqual(LINKS_MAX)
    await expect.poll(() => connectionsTo(holder!.client.peerAddress.port).length).toBe(LINKS_MAX)
    expect(progressOf(holder!, blob).peers).toBe(LINKS_MAX)
    // Both ends of every connection are in this process, and its own heap moves too.
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * MIB)
    const honest = await cluster.addNode()
    expect((await pull(honest, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  } finally {
    for (const line of lines) line.destroy()
  }
  const late = await cluster.addNode()
  await expect.poll(() => progressOf(holder!, blob).peers).toBeLessThan(LINKS_MAX)
  expect((await pull(late, cluster.request(blob))).equals(blob.bytes)).toBe(true)
  expect(progressOf(late, blob).bytesFromPeers).toBe(blob.bytes.length)
}, 60_000)
