import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterEach, expect, test } from 'vitest'
import { parsePermittedTargets, TargetPolicy } from '../../proxy/upstream/target.ts'
import { alwaysStatus } from '../core/test-registry.ts'
import { openTunnel, readAll, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'

/** A user of the machine who asks the proxy, which may run with more rights, for what it must not fetch for anyone. */
let proxy: TestProxy
let own: { port: number; connections: number; server: Server } | undefined
afterEach(async () => {
  // Whatever it was asked, it still serves.
  expect((await proxy.ask('/v2/')).statusCode).toBe(200)
  await proxy.close()
  own?.server.close()
  own = undefined
})

/** One of the node's own listeners, on all addresses as the peer listener is. */
async function ownListener(): Promise<NonNullable<typeof own>> {
  const server = createServer((socket) => {
    own!.connections += 1
    socket.end('secrets')
  }).listen(0)
  await once(server, 'listening')
  own = { port: (server.address() as AddressInfo).port, connections: 0, server }
  return own
}

/** CONNECT; all that comes out of a tunnel that was opened is what the caller gained. */
async function tunnelTo(target: string): Promise<{ status: number; text: string }> {
  const { status, text, socket } = await openTunnel(proxy.port, target)
  if (status === 200) loot.bytes += (await readAll(socket)).length
  return { status, text }
}

const outsideAddress = () =>
  Object.values(networkInterfaces())
    .flat()
    .find((found) => found?.family === 'IPv4' && !found.internal)?.address

for (const host of [
  '169.254.169.254',
  '169.254.0.1',
  '[::ffff:169.254.169.254]',
  '[fe80::1]',
  '[febf::1]',
  '[fd00:ec2::254]',
  '[64:ff9b::a9fe:a9fe]',
  '100.100.100.200',
  '168.63.129.16', // Azure
  '192.0.0.192', // Oracle Cloud
  '[fd20:ce::254]', // Google Cloud
  '[fd00:42::42]', // Scaleway
  '[fd00:a9fe:a9fe::1]', // Akamai
  '[64:ff9b::6464:64c8]',
  '[64:ff9b:1::a9fe:a9fe]',
  '[2002:a9fe:a9fe::1]',
  '2852039166', // 169.254.169.254 as one number
  '0xa9fea9fe',
  '0251.0376.0251.0376',
]) {
  attackTest(`CONNECT and plain requests to ${host} are denied, and logged with their code`, async () => {
    proxy = await startTestProxy(alwaysStatus(200))
    const { status, text } = await tunnelTo(`${host}:80`)
    expect([status, text.includes('CONNECT_DENIED')]).toEqual([403, true])
    const socket = connect(proxy.port, '127.0.0.1')
    socket.write(`GET http://${host}/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    const answer = await readAll(socket)
    if (!answer.startsWith('HTTP/1.1 403 ')) loot.bytes += answer.length
    expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*CONNECT_DENIED/)
    expect(proxy.logged.map(({ code }) => code)).toContain('CONNECT_DENIED')
  })
}

attackTest(
  'the node’s own listeners are denied at every address of the machine, and see no connection',
  async () => {
    const { port } = await ownListener()
    proxy = await startTestProxy(alwaysStatus(200), { deniedPorts: [port] })
    const hosts = ['127.0.0.1', '127.8.8.8', 'localhost', '[::1]', '0.0.0.0', outsideAddress()]
    for (const host of hosts.filter((found) => found !== undefined)) {
      const { status, text } = await tunnelTo(`${host}:${port}`)
      expect([host, status, text.includes('CONNECT_DENIED')]).toEqual([host, 403, true])
    }
    expect(own!.connections).toBe(0)
    expect(proxy.logged.map(({ code }) => code)).toContain('CONNECT_DENIED')
  },
)

controlTest('a chosen target is permitted, and it alone', async () => {
  const { port } = await ownListener()
  proxy = await startTestProxy(alwaysStatus(200), {
    deniedPorts: [port],
    permittedTargets: parsePermittedTargets(`127.0.0.1:${port}`),
  })
  expect((await tunnelTo(`127.0.0.1:${port}`)).status).toBe(200)
  expect(loot.bytes).toBe('secrets'.length)
  for (const target of [`127.0.0.2:${port}`, `[::1]:${port}`, `127.0.0.1:${proxy.port}`]) {
    expect([target, (await tunnelTo(target)).status]).toEqual([target, 403])
  }
  expect(own!.connections).toBe(1)
})

test('the list of exceptions takes addresses, never names', async () => {
  proxy = await startTestProxy(alwaysStatus(200))
  expect(parsePermittedTargets('none')).toEqual([])
  for (const text of ['metadata.example:80', '169.254.169.254', '127.0.0.1:0', '']) {
    expect(() => parsePermittedTargets(text)).toThrow()
  }
  const policy = new TargetPolicy({
    permitLinkLocal: false,
    permittedTargets: parsePermittedTargets('169.254.169.254:80, [fe80::1]:8080'),
  })
  await policy.check({ host: '169.254.169.254', port: 80 })
  await policy.check({ host: 'fe80::1', port: 8080 })
  for (const [host, port] of [
    ['169.254.169.254', 81],
    ['169.254.169.253', 80],
    ['fe80::2', 8080],
  ] as const) {
    await expect(policy.check({ host, port })).rejects.toMatchObject({ code: 'CONNECT_DENIED' })
  }
})
