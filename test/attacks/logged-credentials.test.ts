import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect } from 'vitest'
import { alwaysStatus } from '../core/test-registry.ts'
import { readAll, startTestProxy, type TestProxy } from '../proxy/test-proxy.ts'
import { attackTest } from './ledger.ts'
import { loot } from './loot.ts'

/** Somebody who reads the node's log, on a machine whose users write their password where it does not belong. */
const SECRET = 'hunter2hunter2hunter2'
const CREDENTIALS = Buffer.from(`alice:${SECRET}`).toString('base64')

let proxy: TestProxy
beforeAll(async () => {
  proxy = await startTestProxy(alwaysStatus(200))
})
afterAll(() => proxy.close())

/** Asks, and looks for the secret in all that was logged meanwhile. */
async function expectKept(ask: () => Promise<unknown>): Promise<void> {
  const before = proxy.logged.length
  await ask()
  await expect.poll(() => proxy.logged.length).toBeGreaterThan(before)
  const text = JSON.stringify(proxy.logged.slice(before))
  for (const secret of [SECRET, CREDENTIALS]) if (text.includes(secret)) loot.bytes += secret.length
  expect(text).not.toContain(SECRET)
  expect(text).not.toContain(CREDENTIALS)
}

async function send(text: string): Promise<string> {
  const socket = connect(proxy.port, '127.0.0.1')
  socket.write(text)
  return readAll(socket)
}

for (const target of [
  `alice:${SECRET}@registry.example:443`,
  `${SECRET}@registry.example:443`,
  `alice:p@${SECRET}@registry.example:443`,
  `https://alice:${SECRET}@registry.example:443`,
  `alice:${SECRET}@169.254.169.254:80`,
  `alice:${SECRET}/x@registry.example:443`,
  `registry.example:443/?token=${SECRET}`,
]) {
  attackTest(`the user info of CONNECT ${target} is in no log line`, () =>
    expectKept(() => send(`CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)),
  )
}

for (const url of [
  `http://alice:${SECRET}@127.0.0.1:1/`,
  `http://${SECRET}@127.0.0.1:1/`,
  `http://127.0.0.1:1/b?X-Amz-Signature=${SECRET}`,
  `http://169.254.169.254/b?verify=${SECRET}`,
  `ftp://alice:${SECRET}@127.0.0.1:1/`,
]) {
  attackTest(`nor is that of a request for ${url}`, () =>
    expectKept(() => send(`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)),
  )
}

attackTest('nor what a client says in Proxy-Authorization', () =>
  expectKept(() =>
    send(
      `CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic ${CREDENTIALS}\r\n\r\n`,
    ),
  ),
)

for (const [what, request] of [
  [
    'a URL of another host',
    `GET https://alice:${SECRET}@other.example/?sig=${SECRET} HTTP/1.1\r\nHost: x\r\n`,
  ],
  ['a Host', `GET /v2/ HTTP/1.1\r\nHost: alice:${SECRET}@x\r\n`],
  ['a request that cannot be parsed', `GET /${SECRET} HTTP/1.1\r\nHost: x\r\nX: a\0alice:${SECRET}@x\r\n`],
] as const) {
  attackTest(`nor, inside an intercepted connection, what is in ${what}`, () =>
    expectKept(async () => {
      const secure = await proxy.secure()
      secure.on('error', () => {})
      secure.write(`${request}Connection: close\r\n\r\n`)
      secure.resume()
      await once(secure, 'close')
    }),
  )
}
