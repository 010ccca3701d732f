import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import {
  afterTrial,
  isTrialDue,
  PORT_CHANGE_MS,
  PORT_RECHECK_MS,
  PORT_RETRY_MS,
  PORT_RETRY_MS_MAX,
  type PortTrial,
} from '../../tracker/handout/port-retries.ts'
import { PeerTables } from '../../tracker/swarm/peer-tables.ts'
import {
  dialPort,
  PORT_TRIALS_AT_ONCE_MAX,
  PORT_TRIALS_WAITING_MAX,
  PortTrials,
} from '../../tracker/swarm/port-trials.ts'

const cluster = `c${'1'.repeat(16)}` as ClusterId
const nodeAt = (at: number) => at.toString(16).padStart(40, '0') as NodeId
const contactOf = (at: number, port = 7071) => ({ node: nodeAt(at), address: '10.0.0.1', port })
const metrics = { portTrials: { inc: () => undefined } } as never

/** Trials whose connections open when the test says so. */
function startTrials() {
  const dialled: { port: number; end: (isReached: boolean) => void }[] = []
  let nowMs = 0
  const trials = new PortTrials({
    peers: new PeerTables(1e9),
    ...{ metrics, nowMs: () => nowMs },
    dial: ({ port }) => new Promise((resolve) => dialled.push({ port, end: resolve })),
  })
  const see = (at: number, port?: number) => trials.see(cluster, contactOf(at, port), nowMs)
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { trials, dialled, see, settle, pass }
}

test('however many nodes join together, few are dialled at once, and all in the end', async () => {
  const { see, dialled, settle } = startTrials()
  for (let at = 0; at < 500; at += 1) see(at)
  expect(dialled).toHaveLength(PORT_TRIALS_AT_ONCE_MAX)
  for (let ended = 0; ended < 500; ended += 1) {
    dialled[ended]!.end(true)
    await settle()
    expect(dialled.length).toBeLessThanOrEqual(ended + 1 + PORT_TRIALS_AT_ONCE_MAX)
  }
  expect(dialled).toHaveLength(500)
})

test('of more nodes than may wait, the rest is tried with a later heartbeat', async () => {
  const { see, dialled, settle } = startTrials()
  const all = PORT_TRIALS_AT_ONCE_MAX + PORT_TRIALS_WAITING_MAX
  for (let at = 0; at < all + 5; at += 1) see(at)
  for (let ended = 0; ended < all; ended += 1) {
    dialled[ended]!.end(true)
    if (ended % 16 === 0) await settle()
  }
  await settle()
  expect(dialled).toHaveLength(all)
  see(all)
  expect(dialled).toHaveLength(all + 1)
})

test('a node is dialled once for many heartbeats, again after a pause when it was not reached', async () => {
  const { see, dialled, settle, pass } = startTrials()
  for (let beat = 0; beat < 9; beat += 1) see(1)
  expect(dialled).toHaveLength(1)
  dialled[0]!.end(false)
  await settle()
  pass(PORT_RETRY_MS - 1)
  see(1)
  expect(dialled).toHaveLength(1)
  pass(1)
  see(1)
  expect(dialled).toHaveLength(2)
})

test('a node that names one port after the other is dialled once in a while', async () => {
  const { see, dialled, settle, pass } = startTrials()
  for (let port = 1; port <= 1000; port += 1) {
    see(1, port)
    for (const { end } of dialled) end(false)
    await settle()
    pass(100)
  }
  expect(dialled.length).toBeLessThanOrEqual((1000 * 100) / PORT_CHANGE_MS + 1)
})

test('nothing is dialled after the end', async () => {
  const { see, trials, dialled, settle } = startTrials()
  for (let at = 0; at < PORT_TRIALS_AT_ONCE_MAX + 9; at += 1) see(at)
  trials.close()
  for (const { end } of [...dialled]) end(true)
  await settle()
  see(99)
  expect(dialled).toHaveLength(PORT_TRIALS_AT_ONCE_MAX)
})

test('pauses double up to a bound, and begin anew once the port was reached', () => {
  const at = contactOf(1)
  let last: PortTrial | undefined
  const pauses: number[] = []
  for (let failures = 0; failures < 8; failures += 1) {
    last = afterTrial(last, at, { isReached: false, nowMs: 0 })
    let ms = PORT_RETRY_MS
    while (!isTrialDue(last, at, ms)) ms += PORT_RETRY_MS
    pauses.push(ms)
  }
  expect(pauses.slice(0, 4)).toEqual([1, 2, 4, 8].map((times) => times * PORT_RETRY_MS))
  expect(pauses.at(-1)).toBe(PORT_RETRY_MS_MAX)
  last = afterTrial(last, at, { isReached: true, nowMs: 0 })
  expect([isTrialDue(last, at, PORT_RECHECK_MS - 1), isTrialDue(last, at, PORT_RECHECK_MS)]).toEqual([
    false,
    true,
  ])
})

test('a port is reached when a connection opens; nothing is sent over it', async () => {
  const heard: number[] = []
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => heard.push(bytes.length))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = { address: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const accepted = once(server, 'connection')
  expect(await dialPort(at)).toBe(true)
  const [socket] = await accepted
  while (!socket.destroyed) await new Promise((resolve) => setTimeout(resolve, 5))
  server.close()
  await once(server, 'close')
  expect(await dialPort(at)).toBe(false)
  expect(heard).toEqual([])
})
