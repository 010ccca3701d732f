import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { LocalNode, localNode } from '../../cli/local-node.ts'
import { createLog } from '../../core/log.ts'
import { LocalRequestError } from '../../node/errors.ts'
import {
  LOCAL_BODY_BYTES_MAX,
  LOCAL_CONNECTIONS_MAX,
  localRoute,
  startLocalApi,
} from '../../node/local-api.ts'
import { groupId, localSocketPath } from '../../node/local-socket.ts'
import { noteDefects } from '../core/noted-defects.ts'

let folder: string
let path: string
let api: Awaited<ReturnType<typeof startLocalApi>> | undefined
const defects = noteDefects()
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-local-'))
  path = join(folder, 'shoal.sock')
})
afterEach(async () => {
  await api?.close()
  api = undefined
  rmSync(folder, { recursive: true })
})

const routes = [
  localRoute({ method: 'GET', path: '/v1/echo', answer: ({ query }) => Object.fromEntries(query) }),
  localRoute({
    method: 'POST',
    path: '/v1/echo',
    body: z.strictObject({ text: z.string() }),
    answer: ({ body }) => body,
  }),
  localRoute({
    method: 'GET',
    path: '/v1/refused',
    answer: () => {
      throw new LocalRequestError('not so', { hint: 'Otherwise.' })
    },
  }),
  localRoute({
    method: 'GET',
    path: '/v1/broken',
    answer: () => (undefined as never as { x: { y: 1 } }).x.y,
  }),
]

async function start(at = path) {
  const log = createLog({ level: 'silent', name: 'test' })
  api = await startLocalApi({ path: at, routes, log, defects: defects.defects })
  return new LocalNode([at])
}

async function raw(options: RequestOptions, body = ''): Promise<{ status: number; body: string }> {
  const asked = request({ socketPath: path, ...options }).end(body)
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return { status: answer.statusCode!, body: Buffer.concat(await answer.toArray()).toString() }
}

describe('the socket', () => {
  test('is its owner’s alone, or of the group shoal, and goes with the node', async () => {
    await start()
    const group = groupId(readFileSync('/etc/group', 'utf8'), 'shoal')
    const { mode, gid } = statSync(path)
    if (group === undefined) expect(mode & 0o777).toBe(0o600)
    else expect([mode & 0o777, gid]).toEqual([0o660, group])
    await api!.close()
    api = undefined
    expect(existsSync(path)).toBe(false)
  })

  test('of a killed process is replaced', async () => {
    const left =
      'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))'
    expect(() => execFileSync(process.execPath, ['-e', left, path])).toThrow()
    expect(lstatSync(path).isSocket()).toBe(true)
    const node = await start()
    expect(await node.ask('/v1/echo', z.unknown())).toEqual({})
  })

  test('of a living process is left to it, and a file that is no socket is left alone', async () => {
    const other = createServer().listen(path)
    await once(other, 'listening')
    await expect(start()).rejects.toMatchObject({
      code: 'LOCAL_SOCKET',
      hint: expect.stringContaining('--local-socket'),
    })
    expect(existsSync(path)).toBe(true)
    other.close()
    await once(other, 'close')
    writeFileSync(path, 'mine')
    await expect(start()).rejects.toMatchObject({ code: 'LOCAL_SOCKET' })
    expect(readFileSync(path, 'utf8')).toBe('mine')
  })

  test('has a path that fits into a socket’s address, or the error says how long it may be', async () => {
    const long = join(folder, 'x'.repeat(107 - folder.length))
    expect(Buffer.byteLength(long)).toBe(108)
    await expect(start(long)).rejects.toMatchObject({
      code: 'LOCAL_SOCKET',
      hint: expect.stringContaining('107'),
    })
    await start(long.slice(0, 107))
  })

  test.each([
    [{ dataDir: '/srv/x' }, { runtimeDirectory: undefined, isRoot: true }, '/srv/x/shoal.sock'],
    [{ dataDir: '/var/lib/shoal' }, { runtimeDirectory: undefined, isRoot: true }, '/run/shoal/shoal.sock'],
    [
      { dataDir: '/var/lib/shoal' },
      { runtimeDirectory: undefined, isRoot: false },
      '/var/lib/shoal/shoal.sock',
    ],
    [{ dataDir: '/srv/x' }, { runtimeDirectory: '/run/shoal', isRoot: false }, '/run/shoal/shoal.sock'],
    [{ dataDir: '/srv/x' }, { runtimeDirectory: '/run/other', isRoot: false }, '/srv/x/shoal.sock'],
    [
      { dataDir: '/srv/x', localSocket: '/tmp/s' },
      { runtimeDirectory: '/run/shoal', isRoot: true },
      '/tmp/s',
    ],
  ])('is by default where two nodes of a machine do not meet: %o, %o', (settings, place, expected) => {
    expect(localSocketPath(settings, place)).toBe(expected)
  })
})

describe('a call', () => {
  test('is answered with JSON, its query and its checked body', async () => {
    const node = await start()
    const query = { image: 'a b&c=d/é' }
    expect(await node.ask('/v1/echo', z.unknown(), { query })).toEqual(query)
    const body = { text: 'ü\u001b' }
    expect(await node.ask('/v1/echo', z.unknown(), { method: 'POST', body })).toEqual(body)
  })

  test.each([
    ['/v1/none', 'GET', undefined, 'NOT_FOUND'],
    ['/v1/echo/', 'GET', undefined, 'NOT_FOUND'],
    ['/v1/echo', 'DELETE', undefined, 'METHOD_NOT_ALLOWED'],
    ['/v1/echo', 'POST', { text: 1 }, 'LOCAL_REQUEST'],
    ['/v1/echo', 'POST', { text: '', more: 1 }, 'LOCAL_REQUEST'],
    ['/v1/echo', 'POST', { text: 'x'.repeat(LOCAL_BODY_BYTES_MAX) }, 'LOCAL_REQUEST'],
    ['/v1/refused', 'GET', undefined, 'LOCAL_REQUEST'],
    ['/v1/broken', 'GET', undefined, 'DEFECT'],
  ] as const)('%s %s %o is refused with %s', async (at, method, body, code) => {
    const node = await start()
    await expect(node.ask(at, z.unknown(), { method, body })).rejects.toMatchObject({ code })
    expect(await node.ask('/v1/echo', z.unknown())).toEqual({})
  })

  test('with a body that is no JSON, or cut off, costs nobody else anything', async () => {
    const node = await start()
    const posting = { path: '/v1/echo', method: 'POST' }
    expect(await raw(posting, '{"text":')).toMatchObject({ status: 400 })
    expect(await raw(posting, `${'['.repeat(2000)}`)).toMatchObject({ status: 400 })
    const endless = connect(path).setEncoding('utf8')
    endless.write('POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n')
    endless.write('x'.repeat(LOCAL_BODY_BYTES_MAX + 1))
    endless.on('error', () => undefined)
    expect(String((await once(endless, 'data'))[0])).toContain('400 Bad Request')
    endless.destroy()
    const cut = connect(path)
    cut.write('POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"te')
    cut.on('error', () => undefined)
    setTimeout(() => cut.destroy(), 20)
    await once(cut, 'close')
    expect(await node.ask('/v1/echo', z.unknown())).toEqual({})
    expect(defects.places).not.toContain('process')
  })

  test('is taken from a bounded number of callers at one time', async () => {
    const node = await start()
    const held = Array.from({ length: LOCAL_CONNECTIONS_MAX }, () =>
      connect(path).on('error', () => undefined),
    )
    await Promise.all(held.map((socket) => once(socket, 'connect')))
    await expect(node.ask('/v1/echo', z.unknown(), { patienceMs: 300 })).rejects.toMatchObject({
      code: 'NODE_ANSWER',
    })
    for (const socket of held) socket.destroy()
    await expect.poll(() => node.ask('/v1/echo', z.unknown()).catch(() => 'full')).toEqual({})
  })
})

describe('a command', () => {
  const flags = { socket: undefined, 'config-file': '/nowhere', 'data-dir': undefined }

  test('finds the socket by flag, environment, settings and defaults, in this order', () => {
    const file = join(folder, 'node.json')
    const places = (values: Partial<typeof flags> | object, env = {}) =>
      localNode({ ...flags, ...values } as never, { env }).places
    const env = { SHOAL_NODE_LOCAL_SOCKET: '/e', SHOAL_NODE_DATA_DIR: '/ed' }
    writeFileSync(file, JSON.stringify({ localSocket: '/f', dataDir: '/fd' }))
    expect(places({ socket: '/s', 'data-dir': '/d', 'config-file': file }, env)).toEqual(['/s'])
    expect(places({ 'data-dir': '/d', 'config-file': file }, env)).toEqual([
      '/d/shoal.sock',
      '/d/node/shoal.sock',
    ])
    expect(places({ 'config-file': file }, env)).toEqual(['/e'])
    expect(places({ 'config-file': file })).toEqual(['/f'])
    writeFileSync(file, JSON.stringify({ dataDir: '/fd' }))
    const usual = '/run/shoal/shoal.sock'
    const up = resolve('shoal-data/node/shoal.sock')
    expect(places({ 'config-file': file })).toEqual([usual, '/fd/shoal.sock', up])
    expect(places({})).toEqual([usual, '/var/lib/shoal/shoal.sock', up])
    const elsewhere = places({}, { SHOAL_UP_DATA_DIR: '/u' })
    expect(elsewhere).toEqual([usual, '/var/lib/shoal/shoal.sock', '/u/node/shoal.sock'])
  })

  test('asks no node in a folder where another user may put a socket, or a link to one of ours', () => {
    const up = join(folder, 'up')
    const socket = join(up, 'node', 'shoal.sock')
    mkdirSync(join(up, 'node'), { recursive: true, mode: 0o700 })
    writeFileSync(socket, '')
    const isAsked = () =>
      localNode(flags as never, { env: { SHOAL_UP_DATA_DIR: up } }).places.includes(socket)
    expect(isAsked()).toBe(true)
    chmodSync(up, 0o777)
    expect(isAsked()).toBe(false)
    chmodSync(up, 0o700)
    renameSync(socket, path)
    symlinkSync(path, socket)
    expect(isAsked()).toBe(false)
  })

  test('says where it looked when no node is there, and passes over the socket of a dead one', async () => {
    const none = new LocalNode([join(folder, 'none'), join(folder, 'neither')])
    await expect(none.ask('/v1/echo', z.unknown())).rejects.toMatchObject({
      code: 'NODE_DOWN',
      message: expect.stringContaining(`${folder}/neither`),
      hint: expect.stringContaining('--socket'),
    })
    await start()
    expect(await new LocalNode([join(folder, 'none'), path]).ask('/v1/echo', z.unknown())).toEqual({})
  })

  test.each([
    ['text', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['another protocol', 'SSH-2.0\r\n'],
    ['nothing', ''],
  ])('says so when %s comes from the socket', async (_what, answer) => {
    const other = createServer((socket) => void socket.on('error', () => undefined).write(answer))
    other.listen(path)
    await once(other, 'listening')
    const asked = new LocalNode([path]).ask('/v1/echo', z.unknown(), { patienceMs: 200 })
    await expect(asked).rejects.toMatchObject({ code: 'NODE_ANSWER' })
    other.close()
  })
})
