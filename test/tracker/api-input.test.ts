import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startWorld, type TestNode, type World } from './test-tracker.ts'

describe("the nodes' API", () => {
  let world: World
  let node: TestNode

  beforeAll(async () => {
    world = await startWorld()
    node = await world.joined(await world.makeCluster())
  })
  afterAll(() => world.close())

  it.each([
    ['a body that is not JSON', '/v1/heartbeat', '{"listenPort":', 400, 'BAD_JSON'],
    ['a body that tampers with prototypes', '/v1/heartbeat', '{"__proto__":{"a":1}}', 400, 'BAD_JSON'],
    ['a body that is nested too deeply', '/v1/heartbeat', '['.repeat(2_000), 400, 'BAD_JSON'],
    ['a body of too many values', '/v1/heartbeat', '['.repeat(200_000), 413, 'BODY_TOO_LARGE'],
    ['a body that says a thing twice', '/v1/nodes', '{"publicKey":"AA","publicKey":"AA"}', 400, 'BAD_JSON'],
    ['an empty body', '/v1/heartbeat', '', 400, 'BAD_JSON'],
    ['a body of another shape', '/v1/heartbeat', '[]', 400, 'INVALID_INPUT'],
    ['an unknown key', '/v1/nodes', '{"publicKey":"AA","extra":1}', 400, 'INVALID_INPUT'],
    ['an unknown route', '/v1/nowhere', '{}', 404, 'ROUTE_UNKNOWN'],
    ['the admin API', '/admin/v1/clusters', '{}', 404, 'ROUTE_UNKNOWN'],
    ['a path trick', '/v1/../admin/v1/clusters', '{}', 404, 'ROUTE_UNKNOWN'],
    ['a long id', `/v1/pulls/${'a'.repeat(500)}/renew`, '{}', 400, 'BAD_REQUEST'],
    ['a URL with broken escapes', '/v1/pulls/%zz/renew', '{}', 400, 'BAD_REQUEST'],
    ['a body that is too large', '/v1/pulls', `"${'a'.repeat(300_000)}"`, 413, 'BODY_TOO_LARGE'],
  ])('answers %s with a stable code', async (_, path, body, status, code) => {
    const answer = await node.request('POST', path, body)
    expect([answer.status, answer.body.error?.code]).toEqual([status, code])
    expect(JSON.stringify(answer.body)).not.toMatch(/node_modules|\.ts:\d/)
    await node.close()
  })

  it('answers another content type and another method with a stable code', async () => {
    const xml = await node.request('POST', '/v1/heartbeat', '<a/>', { 'content-type': 'text/xml' })
    expect([xml.status, xml.body.error.code]).toEqual([415, 'UNSUPPORTED_MEDIA'])
    const get = await node.request('GET', '/v1/heartbeat')
    expect([get.status, get.body.error.code]).toEqual([404, 'ROUTE_UNKNOWN'])
  })

  it('still answers after all of that', async () => {
    expect((await node.heartbeat()).status).toBe(200)
  })

  const handshake = (options: object) =>
    new Promise<TLSSocket>((resolve, reject) => {
      const { port } = world.tracker.address
      const socket = connect({ host: 'localhost', port, ca: world.caPem, ...options }, () => resolve(socket))
      socket.on('error', reject)
    })

  it.each(['TLSv1.2', 'TLSv1.3'])('speaks %s', async (version) => {
    const socket = await handshake({ minVersion: version, maxVersion: version })
    expect(socket.getProtocol()).toBe(version)
    socket.destroy()
  })

  it.each([
    ['TLS 1.1', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }],
    ['CBC suites', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' }],
    ['suites without forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
  ])('does not speak %s', async (_, options) => {
    await expect(handshake(options)).rejects.toMatchObject({
      code: expect.stringMatching(/^(ERR_SSL|ECONNRESET)/),
    })
  })

  it.each(['TLSv1.2', 'TLSv1.3'])('never resumes a session of %s', async (version) => {
    const options = { ...node.identity, minVersion: version, maxVersion: version }
    const first = await handshake(options)
    let session = first.getSession() as Buffer<ArrayBuffer> | undefined
    first.on('session', (newer: Buffer<ArrayBuffer>) => {
      session = newer
    })
    first.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await new Promise((resolve) => first.once('data', resolve))
    first.destroy()
    const second = await handshake({ ...options, session })
    expect(second.isSessionReused()).toBe(false)
    second.destroy()
  })
})
