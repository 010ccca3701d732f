import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { RegistryClient } from '../../core/registry-client.ts'
import { BLOB, REPOSITORY, startTestRegistry, type TestRegistry } from './test-registry.ts'

/** Answers that Go's client, and so Docker, takes; undici alone takes some of them otherwise or not at all. */

let registry: TestRegistry
let client: RegistryClient
let sockets: Set<Socket>
afterEach(() => registry.close())

/** Answers everything with these bytes; `hello` or its chunk follows them if it was a GET. */
async function start(head: string, { closes = true } = {}): Promise<void> {
  sockets = new Set()
  registry = await startTestRegistry(({ method, socket }) => {
    const body = /chunked/i.test(head) ? '5\r\nhello\r\n0\r\n\r\n' : 'hello'
    socket.write(Buffer.from(method === 'HEAD' ? head : head + body, 'latin1'))
    if (closes) socket.end()
    sockets.add(socket)
  })
  client = registry.clients.get(registry.host)!
}

const ask = (onceBy: 'HEAD' | 'GET') =>
  client.headBlob({ repository: REPOSITORY, digest: BLOB, authorization: undefined, onceBy })

async function get(by: 'dispatcher' | 'passThrough') {
  const { statusCode, headers, body } = await client[by].request({
    method: 'GET',
    path: `/v2/${REPOSITORY}/blobs/${BLOB}`,
  })
  return { statusCode, headers, text: await body.text() }
}

const FORMS: [string, string][] = [
  ['as HTTP/1.1 has it', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'],
  ['with a status line without reason', 'HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n'],
  ['with an empty reason', 'HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n'],
  ['with a reason in another script', 'HTTP/1.1 200 D\xc3\xa9j\xc3\xa0\r\nContent-Length: 5\r\n\r\n'],
  ['with names in small letters and no blank', 'HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\n'],
  ['with blanks around the length', 'HTTP/1.1 200 OK\r\nCONTENT-LENGTH:   5  \r\n\r\n'],
  ['with tabs around the length', 'HTTP/1.1 200 OK\r\nContent-Length:\t5\t\r\n\r\n'],
  ['with a folded field', 'HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 5\r\n\r\n'],
  ['with lines that end in LF alone', 'HTTP/1.1 200 OK\nContent-Length: 5\n\n'],
  ['in HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n'],
  [
    'after a 100 that nobody asked for',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
  ],
  [
    'after a 103',
    'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
  ],
]

describe('an answer', () => {
  it.each(FORMS)('%s tells the length, and its body arrives', async (_, head) => {
    await start(head)
    expect(await ask('HEAD')).toMatchObject({ isPresent: true, bytes: 5 })
    expect(await ask('GET')).toMatchObject({ isPresent: true, bytes: 5 })
    for (const by of ['dispatcher', 'passThrough'] as const) {
      const { statusCode, headers, text } = await get(by)
      expect([statusCode, headers['content-length'], text]).toEqual([200, '5', 'hello'])
    }
  })

  it.each([
    ['in HTTP/1.0 that ends with the connection', 'HTTP/1.0 200 OK\r\n\r\n'],
    ['with chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    [
      'with Content-Length before chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    [
      'with chunks before Content-Length',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n',
    ],
  ])('%s tells no length that counts, and its body arrives', async (_, head) => {
    await start(head)
    expect(await ask('GET')).toMatchObject({ isPresent: true, bytes: undefined })
    for (const by of ['dispatcher', 'passThrough'] as const) {
      const { statusCode, headers, text } = await get(by)
      expect([statusCode, headers['content-length'], text]).toEqual([200, undefined, 'hello'])
    }
  })

  it('in HTTP/1.0 that keeps the connection leaves it to the next request', async () => {
    await start('HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n', { closes: false })
    await get('dispatcher')
    await delay(50)
    await get('dispatcher')
    expect(sockets.size).toBe(1)
  })

  it('that had to be read leniently ends its connection, and costs the next one no second request', async () => {
    await start('HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 5\r\n\r\n', { closes: false })
    await get('dispatcher')
    const asked = registry.requests.length
    await get('dispatcher')
    expect(registry.requests.length - asked).toBe(1)
    expect(sockets.size).toBe(3)
  })

  it('that is none is an error, and no habit', async () => {
    await start('SSH-2.0-OpenSSH_9.2\r\n')
    await expect(get('dispatcher')).rejects.toThrow()
    registry.door = ({ socket }) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello')
    const asked = registry.requests.length
    expect((await get('dispatcher')).text).toBe('hello')
    expect(registry.requests.length - asked).toBe(1)
  })
})

it('a HEAD without a length is not followed by a GET: a server that tells no length may have no ranges either', async () => {
  await start('HTTP/1.0 200 OK\r\n\r\n')
  const asked = { repository: REPOSITORY, digest: BLOB, authorization: undefined, bytesExpected: 5 }
  expect(await client.headBlob(asked)).toEqual({ isPresent: true, bytes: undefined, isRedirect: false })
  expect(registry.requests.map(({ line }) => line.split(' ')[0])).toEqual(['HEAD'])
})
