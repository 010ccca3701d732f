import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { realpathSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { OWNER_PROCESSES_MAX, unitIn } from '../../proxy/socket-holders.ts'
import { KernelSocketOwners } from '../../proxy/socket-owner.ts'

const NOBODY = 65534
const own = { uid: process.getuid!(), executable: realpathSync(process.execPath) }

let owners: KernelSocketOwners
let server: Server
const clients: Socket[] = []
const children: ChildProcess[] = []
beforeEach(() => {
  owners = new KernelSocketOwners()
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  for (const child of children.splice(0)) child.kill()
  server.close()
})

async function listen(host: string): Promise<number> {
  server = createServer({ allowHalfOpen: true }).listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function accept(port: number, host: string): Promise<Socket> {
  const accepted = once(server, 'connection')
  clients.push(connect(port, host).on('error', () => {}))
  return (await accepted)[0]
}

describe('a connection’s other end', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.1', '::ffff:127.0.0.1'],
    ['127.3.2.1', '127.3.2.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
  ])('of a listener on %s, called as %s, is told by user and program', async (listening, called) => {
    const socket = await accept(await listen(listening), called)
    expect(await owners.userOf(socket)).toBe(own.uid)
    expect(await owners.ownerOf(socket)).toMatchObject(own)
  })

  test('that was closed is nobody’s, though the kernel then says root', async () => {
    const socket = await accept(await listen('127.0.0.1'), '127.0.0.1')
    const closed = once(clients[0]!, 'close')
    clients[0]!.destroy()
    await closed
    expect(await owners.userOf(socket)).toBe(undefined)
    expect(await owners.ownerOf(socket)).toBe(undefined)
    socket.destroy()
  })

  test('is not searched for in every process once it ended', async () => {
    const socket = await accept(await listen('127.0.0.1'), '127.0.0.1')
    await owners.userOf(socket)
    clients[0]!.destroy()
    await once(socket.resume(), 'end')
    socket.destroy()
    const searches = vi.spyOn(fs, 'opendirSync')
    syncBuiltinESMExports()
    expect(await owners.ownerOf(socket)).toEqual({ uid: own.uid })
    expect(searches).not.toHaveBeenCalled()
    searches.mockRestore()
    syncBuiltinESMExports()
  })

  test('is still known after it went away, once it was asked for', async () => {
    const socket = await accept(await listen('127.0.0.1'), '127.0.0.1')
    expect(await owners.ownerOf(socket)).toMatchObject(own)
    clients[0]!.destroy()
    await once(socket.resume(), 'end')
    expect(await owners.ownerOf(socket)).toMatchObject(own)
    socket.destroy()
  })

  test('is told of hundreds of connections at once, soon', async () => {
    const port = await listen('127.0.0.1')
    const sockets: Socket[] = []
    server.on('connection', (socket) => sockets.push(socket))
    for (let count = 0; count < 300; count++) clients.push(connect(port, '127.0.0.1'))
    await expect.poll(() => sockets.length).toBe(300)
    const startedAtMs = performance.now()
    const users = await Promise.all(sockets.map((socket) => owners.userOf(socket)))
    expect(performance.now() - startedAtMs).toBeLessThan(2000)
    expect(new Set(users)).toEqual(new Set([own.uid]))
    for (const socket of sockets) socket.destroy()
  })

  describe.skipIf(mustSkipFor(['root', 'setpriv', 'perl']))('of another user', () => {
    test('is his', async () => {
      const port = await listen('127.0.0.1')
      const accepted = once(server, 'connection')
      const user = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups']
      // A program that everybody may run, wherever this checkout lies.
      const dial = ['/bin/bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; read -r <&3`]
      children.push(spawn('setpriv', [...user, ...dial], { cwd: '/' }))
      const [socket] = (await accepted) as [Socket]
      const executable = realpathSync('/bin/bash')
      expect(await owners.ownerOf(socket)).toMatchObject({ uid: NOBODY, executable })
    })

    test('is found behind any number of younger processes without files, as the kernel’s own threads are', async () => {
      const port = await listen('127.0.0.1')
      const accepted = once(server, 'connection')
      const user = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups']
      const fileless = `fork or do { POSIX::close($_) for 0..255; sleep 60; exit } for 0..${OWNER_PROCESSES_MAX}`
      const many = `exec 3<>/dev/tcp/127.0.0.1/${port}; perl -MPOSIX -e '${fileless}'; echo; read -r <&3`
      const crowd = spawn('setpriv', [...user, '/bin/bash', '-c', many], { cwd: '/', detached: true })
      try {
        const [socket] = (await accepted) as [Socket]
        await once(crowd.stdout, 'data')
        expect(await owners.ownerOf(socket)).toMatchObject({ executable: realpathSync('/bin/bash') })
      } finally {
        process.kill(-crowd.pid!, 'SIGKILL')
      }
    })
  })
})

describe('the unit of a process', () => {
  test.each([
    ['0::/system.slice/docker.service\n', 'docker.service'],
    // A service that makes groups of its own below.
    ['0::/system.slice/containerd.service/init\n', 'containerd.service'],
    ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope\n', 'run-7.scope'],
    // Version 1: the service is in systemd's own hierarchy.
    [
      '4:memory:/system.slice/other.service\n1:name=systemd:/system.slice/docker.service\n0::/\n',
      'docker.service',
    ],
    ['0::/kubepods/pod1/abc\n', undefined],
    ['', undefined],
  ])('in %j is %s', (text, unit) => {
    expect(unitIn(text)).toBe(unit)
  })
})
