import { once } from 'node:events'
import { connect as connectPlain } from 'node:net'
import { text } from 'node:stream/consumers'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { NODE_CONNECTIONS_MAX, SILENT_CONNECTIONS_MAX } from '../../tracker/api/connection-gate.ts'
import { startWorld, type TestCluster, type TestNode, type World } from './test-tracker.ts'

const MIB = 2 ** 20

describe('a tracker', () => {
  let world: World
  let lab: TestCluster
  let node: TestNode

  beforeAll(async () => {
    world = await startWorld()
    lab = await world.makeCluster()
    node = await world.joined(lab)
  })
  afterAll(() => world.close())

  async function open(identity: ConnectionOptions = {}): Promise<TLSSocket> {
    const { port } = world.tracker.address
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca: world.caPem, ...identity })
    socket.on('error', () => undefined)
    await once(socket, 'secureConnect')
    return socket
  }

  /** Sends a head without its body. @returns all that is answered until the tracker closes the connection */
  async function ask(head: string, identity?: ConnectionOptions): Promise<string> {
    const socket = await open(identity)
    socket.write(`${head}\r\nhost: localhost\r\ncontent-type: application/json\r\n\r\n`)
    return text(socket)
  }

  it.each([
    ['a heartbeat', 'POST /v1/heartbeat HTTP/1.1\r\ncontent-length: 100', '401', 'CERTIFICATE_REQUIRED'],
    ['a large join', 'POST /v1/nodes HTTP/1.1\r\ncontent-length: 4097', '413', 'BODY_TOO_LARGE'],
    [
      'an announce with a body of unknown length',
      `GET /v1/swarms/${'a'.repeat(40)}/torrent HTTP/1.1\r\ntransfer-encoding: chunked`,
      ...['413', 'BODY_TOO_LARGE'],
    ],
    ['what is not there', 'POST /v1/nothing HTTP/1.1\r\ncontent-length: 100', '401', 'CERTIFICATE_REQUIRED'],
  ])("answers a stranger's head of %s before its body, and hangs up", async (_, head, status, code) => {
    const answer = await ask(head)
    expect(answer).toContain(`HTTP/1.1 ${status} `)
    expect(answer).toContain(code)
  })

  it('answers so whoever has a certificate that counts no more, and closes', async () => {
    const former = await world.joined(lab)
    await world.admin().post('/admin/v1/revocations', { cluster: lab.cluster, node: former.node })
    const answer = await ask(`POST /v1/heartbeat HTTP/1.1\r\ncontent-length: ${MIB}`, former.identity)
    expect(answer).toContain('NODE_REVOKED')
  })

  it('refuses a member the body that is larger than the route reads, before it comes', async () => {
    const answer = await ask(`POST /v1/heartbeat HTTP/1.1\r\ncontent-length: ${3 * MIB}`, node.identity)
    expect(answer).toContain('HTTP/1.1 413 ')
  })

  it('refuses a body of too many values without parsing it', async () => {
    const { status, body } = await node.post('/v1/heartbeat', `[${'[],'.repeat(300_000)}0]`)
    expect([status, body.error.code]).toEqual([413, 'BODY_TOO_LARGE'])
  })

  it('reads the largest inventory that a node may have', async () => {
    const swarm = (at: number) => at.toString(16).padStart(40, '0')
    const holds = Array.from({ length: 10_000 }, (_, at) => ({ swarm: swarm(at), isSeed: true }))
    const dropped = Array.from({ length: 10_000 }, (_, at) => swarm(at + 10_000))
    expect((await node.heartbeat({ holds, dropped })).status).toBe(200)
  })

  it('closes the connection of one who does not begin a request in time, or stops in the middle of it', async () => {
    const startedAtMs = Date.now()
    const silent = await open()
    const slow = await open(node.identity)
    slow.write('POST /v1/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{')
    await text(silent)
    expect(Date.now() - startedAtMs).toBeLessThan(9_000)
    await text(slow)
    expect(Date.now() - startedAtMs).toBeLessThan(20_000)
  }, 30_000)

  it(`keeps ${NODE_CONNECTIONS_MAX} connections of one node: one more ends the idlest`, async () => {
    const sockets: TLSSocket[] = []
    for (let at = 0; at <= NODE_CONNECTIONS_MAX; at += 1) sockets.push(await open(node.identity))
    await once(sockets[0]!, 'close')
    const isOpen = sockets.map(({ destroyed }) => !destroyed)
    expect(isOpen.filter(Boolean)).toHaveLength(NODE_CONNECTIONS_MAX)
    for (const socket of sockets) socket.destroy()
  })

  it('ends the oldest connection that says nothing for one more than it keeps', async () => {
    const droppedForPlace = async () => {
      const { body } = await world.admin().request('GET', '/metrics')
      return Number(/connections_dropped_total\{reason="place"\} (\d+)/.exec(body)?.[1] ?? 0)
    }
    const before = await droppedForPlace()
    const { port } = world.tracker.address
    const first = connectPlain(port, '127.0.0.1')
    first.resume().on('error', () => undefined)
    await once(first, 'connect')
    const others = []
    for (let batch = 0; batch < SILENT_CONNECTIONS_MAX / 256; batch += 1) {
      const opened = Array.from({ length: 256 }, () => connectPlain(port, '127.0.0.1'))
      for (const socket of opened) socket.on('error', () => undefined)
      await Promise.all(opened.map((socket) => once(socket, 'connect')))
      others.push(...opened)
    }
    if (!first.closed) await once(first, 'close')
    expect(await droppedForPlace()).toBeGreaterThan(before)
    expect((await node.heartbeat()).status).toBe(200)
    for (const socket of others) socket.destroy()
  })
})
