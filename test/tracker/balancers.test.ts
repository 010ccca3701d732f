import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PROXY_HEADER_MS_MAX } from '../../tracker/api/proxy-header.ts'
import { headerOf, TCP4_PART } from './proxy-headers.ts'
import { startWorld, type TestCluster, TestNode, type World } from './test-tracker.ts'

/** The balancer has an address of its own on loopback. */
const BALANCER = '127.0.0.2'

let world: World
let cluster: TestCluster
let open: (Server | TestNode | Socket)[]
beforeEach(async () => {
  open = []
  world = await startWorld({ tracker: { balancers: ['127.0.0.2/32'] } })
  cluster = await world.makeCluster()
})
afterEach(async () => {
  for (const one of open) {
    if (one instanceof TestNode) await one.close()
    else if ('destroy' in one) one.destroy()
    else one.close()
  }
  await world.close()
})

/** A node whose connections go through something that sends `first`, from `localAddress`. */
async function nodeThrough(first: Buffer | undefined, localAddress = BALANCER): Promise<TestNode> {
  const balancer = createServer((near) => {
    const far = connect({ host: '127.0.0.1', port: world.tracker.address.port, localAddress })
    if (first !== undefined) far.write(first)
    near.pipe(far).pipe(near)
    for (const socket of [near, far]) socket.on('error', () => undefined)
    far.on('close', () => near.destroy())
    near.on('close', () => far.destroy())
  })
  balancer.listen(0, '127.0.0.1')
  await once(balancer, 'listening')
  const { port } = balancer.address() as AddressInfo
  const tracker = { ...world.tracker, address: { host: '127.0.0.1', port } }
  const node = new TestNode(Object.assign(Object.create(world), { tracker }))
  open.push(balancer, node)
  return node
}

const addresses = async () => {
  const { body } = await world.admin().request('GET', '/admin/v1/nodes')
  return (body.nodes as { address: string }[]).map(({ address }) => address)
}
/** What a raw connection of the balancer gets for these bytes. */
async function sent(bytes: Buffer, localAddress = BALANCER): Promise<{ answer: Buffer; seconds: number }> {
  const socket = connect({ host: '127.0.0.1', port: world.tracker.address.port, localAddress })
  open.push(socket)
  const answer: Buffer[] = []
  socket.on('data', (chunk) => answer.push(chunk)).on('error', () => undefined)
  const beganMs = performance.now()
  socket.write(bytes)
  await once(socket, 'close')
  return { answer: Buffer.concat(answer), seconds: (performance.now() - beganMs) / 1000 }
}

describe('a tracker behind a balancer', () => {
  it('takes a node for who the balancer says it is, at its join and after', async () => {
    const node = await nodeThrough(headerOf({}))
    expect((await node.join(cluster.joinToken)).status).toBe(200)
    expect(await addresses()).toEqual(['203.0.113.7'])
    expect((await node.pull()).status).toBe(200)
  })

  it('takes the balancer’s own connections for its own', async () => {
    const node = await nodeThrough(headerOf({ command: 0x20 }))
    expect((await node.join(cluster.joinToken)).status).toBe(200)
    expect(await addresses()).toEqual([BALANCER])
  })

  it('refuses the balancer without a header, and says so once', async () => {
    for (let time = 0; time < 2; time += 1)
      await expect((await nodeThrough(undefined)).join(cluster.joinToken)).rejects.toThrow()
    expect(world.logged().split('PROXY_HEADER_MISSING')).toHaveLength(2)
    const metrics = (await world.admin().request('GET', '/metrics')).body as string
    expect(metrics).toContain('shoal_tracker_connections_dropped_total{reason="header"} 2')
  })

  it('serves nodes that come by themselves as before', async () => {
    expect((await (await nodeThrough(undefined, '127.0.0.3')).join(cluster.joinToken)).status).toBe(200)
    expect(await addresses()).toEqual(['127.0.0.3'])
  })
})

describe('an attacker', () => {
  it('who sends a header from another address is no other caller: it is no TLS', async () => {
    await expect((await nodeThrough(headerOf({}), '127.0.0.3')).join(cluster.joinToken)).rejects.toThrow()
    expect(await addresses()).toEqual([])
  })

  it('who sends a second header behind the balancer’s is refused', async () => {
    const both = Buffer.concat([headerOf({}), headerOf({})])
    await expect((await nodeThrough(both)).join(cluster.joinToken)).rejects.toThrow()
  })

  it.each([
    ['version 1', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 1025 7443\r\n'), 'PROXY_HEADER_MISSING'],
    [
      'a TLV longer than the header',
      headerOf({ body: Buffer.concat([TCP4_PART, Buffer.from([1, 255, 255])]) }),
      'PROXY_HEADER_MALFORMED',
    ],
    [
      'a header of 64 KiB',
      headerOf({ body: Buffer.alloc(0xffff) }).subarray(0, 16),
      'PROXY_HEADER_MALFORMED',
    ],
  ])('who makes the balancer send %s is answered nothing', async (_, bytes, code) => {
    const { answer, seconds } = await sent(bytes)
    expect(answer.length).toBe(0)
    // It was not waited for.
    expect(seconds).toBeLessThan(PROXY_HEADER_MS_MAX / 1000)
    expect(world.logged()).toContain(code)
  })

  it('who sends a header slowly, or half of it, does not keep the connection', async () => {
    const { answer, seconds } = await sent(headerOf({}).subarray(0, 20))
    expect(answer.length).toBe(0)
    expect(seconds).toBeGreaterThan(PROXY_HEADER_MS_MAX / 1000 - 0.5)
    expect(seconds).toBeLessThan(PROXY_HEADER_MS_MAX / 1000 + 3)
  })
})

describe('nodes whose addresses something hides', () => {
  const health = async () => (await world.admin().request('GET', '/healthz')).body

  it('are a condition that says what it breaks, while they are heard', async () => {
    expect(await health()).toEqual({ status: 'ok' })
    for (let count = 0; count < 3; count += 1) {
      const node = await world.joined(cluster)
      expect((await node.heartbeat({ listenPort: 7070 })).status).toBe(200)
    }
    expect(await health()).toEqual({ status: 'degraded', codes: ['NODES_AT_ONE_ADDRESS'] })
    expect(world.logged()).toContain('"nodes":3')
  })

  it('are none when each has a port of its own, as on one machine', async () => {
    for (let count = 0; count < 3; count += 1)
      await (await world.joined(cluster)).heartbeat({ listenPort: 7070 + count })
    expect(await health()).toEqual({ status: 'ok' })
  })
})
