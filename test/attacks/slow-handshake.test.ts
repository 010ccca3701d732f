import { once } from 'node:events'
import { connect as connectPlain, type Socket } from 'node:net'
import { expect } from 'vitest'
import { HANDSHAKING_MAX } from '../../client/peer/peer-listener.ts'
import { encodeHandshake } from '../../client/wire/handshake.ts'
import { AttackLine } from './attacker.ts'
import { openHalf } from './half-open.ts'
import { attackTest } from './ledger.ts'
import {
  expectLogged,
  expectNothingGiven,
  expectServesHonestly,
  expectUnharmed,
  useTarget,
} from './target.ts'

/** Attackers who begin and never finish, to hold what the node has of connections and memory. */
const target = useTarget()
const HALF_OPEN = 3000
/** What is left of them once the node has taken note of all; of each it may hold 48 KiB. */
const HELD_BYTES_MAX = 200 * 1024 * 1024

attackTest(
  'a handshake of one byte a second is cut off after ten seconds',
  async () => {
    const { certificate } = await target.member.pull(target.cluster, target.blob)
    const mark = target.logged.length
    const line = new AttackLine({
      node: target.holder,
      authorities: target.member.authorities,
      certificate,
      sni: target.swarm,
    })
    expect(await line.ready).toBe(true)
    const bytes = encodeHandshake({
      swarm: target.swarm,
      peer: target.member.node,
      hasFast: true,
      hasExtensions: true,
    })
    const startedAtMs = Date.now()
    let sent = 0
    const timer = setInterval(() => line.send(bytes.subarray(sent, ++sent)), 1000)
    await line.closed
    clearInterval(timer)
    expect(Date.now() - startedAtMs).toBeGreaterThan(8_000)
    expect(Date.now() - startedAtMs).toBeLessThan(12_000)
    expectNothingGiven(line)
    await expectLogged(target, mark, 'PEER_PROTOCOL')
  },
  20_000,
)

attackTest(`an honest peer is served while ${HALF_OPEN} connections never begin TLS`, async () => {
  const mark = target.logged.length
  const before = process.memoryUsage().rss
  const held = await openHalf(target.holder.client.peerAddress, HALF_OPEN)
  await expect.poll(() => held.count, { timeout: 5000 }).toBeLessThanOrEqual(HANDSHAKING_MAX)
  expect(held.count).toBeGreaterThan(0)
  await expectServesHonestly(target)
  expect(process.memoryUsage().rss - before).toBeLessThan(HELD_BYTES_MAX)
  await expectLogged(target, mark, 'PEER_REFUSED')
  held.close()
})

attackTest(
  'an honest peer is served while a stranger begins TLS a hundred times and stops halfway',
  async () => {
    const { host, port } = target.holder.client.peerAddress
    // A ClientHello's record header and nothing more.
    const sockets: Socket[] = Array.from({ length: 100 }, () => connectPlain(port, host))
    for (const socket of sockets) {
      socket.on('error', () => undefined)
      socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1]))
    }
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    await expectServesHonestly(target)
    for (const socket of sockets) socket.destroy()
  },
)

attackTest('an honest peer is served while one member holds 60 connections that say nothing', async () => {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  const lines = Array.from(
    { length: 60 },
    () =>
      new AttackLine({
        node: target.holder,
        authorities: target.member.authorities,
        certificate,
        sni: target.swarm,
      }),
  )
  await Promise.all(lines.map((line) => line.ready))
  await expectServesHonestly(target)
  for (const line of lines) {
    line.destroy()
    expectNothingGiven(line)
  }
})

attackTest('an honest peer is served while one member opens 60 connections and waits in each', async () => {
  const { certificate } = await target.member.pull(target.cluster, target.blob)
  const lines = Array.from(
    { length: 60 },
    () =>
      new AttackLine({
        node: target.holder,
        authorities: target.member.authorities,
        certificate,
        sni: target.swarm,
      }),
  )
  await Promise.all(lines.map((line) => line.ready))
  for (const line of lines) line.sendHandshakes(target.swarm, target.member.node)
  await expectServesHonestly(target)
  for (const line of lines) {
    line.destroy()
    expectNothingGiven(line)
  }
})

attackTest('a node ends at once although a stranger holds half-open connections to it', async () => {
  const node = await target.cluster.addNode({ name: 'ending' })
  const { host, port } = node.client.peerAddress
  const sockets = Array.from({ length: 20 }, () => connectPlain(port, host))
  for (const socket of sockets) socket.on('error', () => undefined)
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const startedAtMs = Date.now()
  await node.stop()
  expect(Date.now() - startedAtMs).toBeLessThan(3000)
  for (const socket of sockets) socket.destroy()
})

expectUnharmed(target)
