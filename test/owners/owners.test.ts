import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { OWNERS_IDLE_MS, OWNERS_QUESTIONS_MAX, OWNERS_WINDOW_MS } from '../../owners/service.ts'
import { askOwner, OWNER_ANSWER_BYTES_MAX, QUESTION_BYTES_MAX } from '../../proxy/owner-question.ts'
import { type Connection, KernelSocketOwners } from '../../proxy/socket-owner.ts'
import { runShoal } from '../cli/run-shoal.ts'
import { heldSocket } from './passed-socket.ts'

const NODE_USER = 60_301
const SERVICE_USER = 60_302
const PATIENCE_MS = 20_000
const SHOAL = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const SERVICE = fileURLToPath(new URL('service-main.ts', import.meta.url))
const own = { uid: process.getuid!(), executable: realpathSync(process.execPath) }

let folder: string
let path: string
let held: ReturnType<typeof heldSocket>
const servers: Server[] = []
const sockets: Socket[] = []
const children: ChildProcess[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-owners-'))
  path = join(folder, 'owners.sock')
  held = heldSocket(path)
})
afterEach(() => {
  vi.restoreAllMocks()
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
  held.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Listening {
  port: number
  /** The listener's end of a connection that a process makes. */
  accepted(dial: (port: number) => void): Promise<Socket>
}

async function listen(host = '127.0.0.1'): Promise<Listening> {
  const server = createServer().listen(0, host)
  servers.push(server)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    async accepted(dial) {
      const connection = once(server, 'connection')
      dial(port)
      const [socket] = (await connection) as [Socket]
      sockets.push(socket)
      return socket
    },
  }
}

const fromHere = (port: number) => void sockets.push(connect(port, '127.0.0.1'))

const ask = (connection: Connection) => askOwner(connection, path)

function serve(
  port: number,
  { idleMs = OWNERS_IDLE_MS, windowMs = OWNERS_WINDOW_MS }: { idleMs?: number; windowMs?: number } = {},
): ChildProcess {
  const stdio = ['ignore', 'inherit', 'inherit', held.fd] as const
  const argv = [SERVICE, port, idleMs, windowMs].map(String)
  const child = spawn(process.execPath, argv, { stdio: [...stdio] })
  children.push(child)
  return child
}

/** What comes back until the other side closes, with the time in milliseconds. */
async function answerTo(bytes: string): Promise<{ text: string; ms: number }> {
  const beganAtMs = performance.now()
  const socket = connect(path)
  sockets.push(socket)
  let text = ''
  socket.on('error', () => undefined).setEncoding('utf8')
  socket.on('data', (part: string) => {
    text += part
  })
  socket.write(bytes)
  await new Promise((resolve) => socket.once('close', resolve))
  return { text, ms: performance.now() - beganAtMs }
}

const lineOf = ({ remoteAddress, remotePort, localAddress, localPort }: Socket) =>
  `${remoteAddress} ${remotePort} ${localAddress} ${localPort}\n`

describe('what names the programs behind connections', () => {
  it('tells of connections to the proxy, and of no other', async () => {
    const [proxy, other] = [await listen(), await listen()]
    serve(proxy.port)
    const socket = await proxy.accepted(fromHere)
    expect(JSON.parse((await answerTo(lineOf(socket))).text)).toMatchObject(own)
    const elsewhere = await other.accepted(fromHere)
    const { remoteAddress, remotePort, localAddress, localPort } = socket
    for (const text of [
      lineOf(elsewhere),
      // From the other side: that would tell who has the proxy.
      `${localAddress} ${localPort} ${remoteAddress} ${remotePort}\n`,
      // Another address of the proxy's port is another listener.
      `127.0.0.1 ${remotePort} 127.0.0.2 ${localPort}\n`,
      `::1 ${remotePort} ::1 ${localPort}\n`,
      // No such connection.
      `127.0.0.1 1 127.0.0.1 ${localPort}\n`,
    ])
      expect((await answerTo(text)).text, text).toBe('')
    expect(await ask(socket)).toMatchObject(own)
  })

  it('cuts off who writes anything else, too much or nothing, and goes on', async () => {
    const proxy = await listen()
    serve(proxy.port)
    const socket = await proxy.accepted(fromHere)
    const line = lineOf(socket)
    expect((await answerTo(line)).text).toContain('"uid"')
    for (const text of [
      '\n',
      'GET / HTTP/1.1\r\n\r\n',
      line.replace('127.0.0.1', '127.0.0.1/../..'),
      line.replace(/ \d+ /, ' 99999999 '),
      line + line,
      `${' '.repeat(QUESTION_BYTES_MAX)}${line}`,
      `1::2::3 1 ::ffff:127.0.0.1 ${proxy.port}\n`,
      'x'.repeat(1_000_000),
    ]) {
      // A busy machine is slow now and then; whoever waits for the end of the patience does so each time.
      const answers = [await answerTo(text), await answerTo(text), await answerTo(text)]
      expect(answers.map((one) => one.text).join(''), text.slice(0, 80)).toBe('')
      expect(Math.min(...answers.map(({ ms }) => ms)), text.slice(0, 80)).toBeLessThan(900)
    }
    // As many that never end as there may be: each has a second.
    const silent = Array.from({ length: 32 }, () => answerTo(line.slice(0, -1)))
    for (const { text, ms } of await Promise.all(silent)) {
      expect(text).toBe('')
      expect(ms).toBeLessThan(5000)
    }
    expect(await ask(socket)).toMatchObject(own)
  })

  it('looks into so many questions within a window, and no more', async () => {
    const proxy = await listen()
    // Longer than the test takes.
    serve(proxy.port, { windowMs: 600_000 })
    const line = lineOf(await proxy.accepted(fromHere))
    const together = 20
    let answered = 0
    for (let asked = 0; asked < OWNERS_QUESTIONS_MAX + together; asked += together)
      for (const { text } of await Promise.all(Array.from({ length: together }, () => answerTo(line))))
        if (text !== '') answered += 1
    expect(answered).toBe(OWNERS_QUESTIONS_MAX)
  })

  it('ends once nobody asks, and who asks later waits for the next one', async () => {
    const proxy = await listen()
    const line = lineOf(await proxy.accepted(fromHere))
    const first = serve(proxy.port, { idleMs: 300 })
    expect((await answerTo(line)).text).toContain('"uid"')
    await once(first, 'exit')
    expect(first.exitCode).toBe(0)
    const answer = answerTo(line)
    serve(proxy.port)
    expect((await answer).text).toContain('"uid"')
  })

  it('is started by a service manager, and by nobody else', async () => {
    const { code, stderr } = await runShoal(['owners'])
    expect([code, stderr]).toEqual([2, expect.stringContaining('shoal-owners.socket')])
  })
})

describe.skipIf(mustSkipFor(['linux', 'root', 'setpriv']))(
  'as its unit starts it, for a node without rights',
  () => {
    /** With what shoal-owners.service leaves it. */
    function start(port: number): void {
      const capabilities = '-all,+sys_ptrace,+dac_read_search'
      const user = [
        '--reuid',
        `${SERVICE_USER}`,
        '--regid',
        `${SERVICE_USER}`,
        '--clear-groups',
        '--no-new-privs',
      ]
      const rights = [
        '--inh-caps',
        capabilities,
        '--ambient-caps',
        capabilities,
        '--bounding-set',
        capabilities,
      ]
      // The process that listens is told its own number (sd_listen_fds(3)).
      const run = ['sh', '-c', 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"', process.execPath, SHOAL, 'owners']
      const argv = [...user, ...rights, ...run, '--proxy-listen', `127.0.0.1:${port}`]
      children.push(spawn('setpriv', argv, { cwd: '/', stdio: ['ignore', 'inherit', 'inherit', held.fd] }))
    }

    /** A process of a user that connects, and waits. */
    const dialledBy = (uid: number) => (port: number) => {
      const user = ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups']
      const dial = ['/bin/bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; read -r <&3`]
      children.push(spawn('setpriv', [...user, ...dial], { cwd: '/' }))
    }

    it('names the programs of root and of other users, of which the node knows the user alone', async () => {
      const proxy = await listen()
      start(proxy.port)
      const executable = realpathSync('/bin/bash')
      for (const uid of [0, NODE_USER + 10]) {
        const socket = await proxy.accepted(dialledBy(uid))
        await expect.poll(() => ask(socket), { timeout: PATIENCE_MS }).toMatchObject({ uid, executable })
        vi.spyOn(process, 'getuid').mockReturnValue(NODE_USER)
        const seen = await new KernelSocketOwners({ ask }).ownerOf(socket)
        const alone = await new KernelSocketOwners({ ask: async () => undefined }).ownerOf(socket)
        expect(seen).toMatchObject({ uid, executable })
        expect(alone?.uid).toBe(uid)
      }
    })
  },
)

describe('a node that asks', () => {
  it('does without an answer that is none, too long, or does not end', async () => {
    const { accepted } = await listen()
    const socket = await accepted(fromHere)
    const answers = ['', 'no', 'null', '[]', '{"uid":"0"}', 'x'.repeat(OWNER_ANSWER_BYTES_MAX * 4), undefined]
    for (const [index, answer] of answers.entries()) {
      const at = join(folder, `${index}.sock`)
      const server = createServer((caller) => {
        sockets.push(caller.on('error', () => undefined))
        if (answer !== undefined) caller.end(answer)
      }).listen(at)
      servers.push(server)
      await once(server, 'listening')
      const beganAtMs = performance.now()
      expect(await askOwner(socket, at), String(answer).slice(0, 20)).toBe(undefined)
      expect(performance.now() - beganAtMs).toBeLessThan(10_000)
    }
    expect(await askOwner(socket, join(folder, 'nothing.sock'))).toBe(undefined)
  })

  it('believes no answer about another user than the kernel’s', async () => {
    const { accepted } = await listen()
    const socket = await accepted(fromHere)
    vi.spyOn(process, 'getuid').mockReturnValue(NODE_USER)
    const told = { executable: '/usr/bin/dockerd', unit: 'docker.service' }
    const ownerSaid = (uid: number) =>
      new KernelSocketOwners({ ask: async () => ({ uid, ...told }) }).ownerOf(socket)
    expect(await ownerSaid(own.uid)).toEqual({ uid: own.uid, ...told })
    expect(await ownerSaid(own.uid + 1)).not.toMatchObject(told)
    const unasked = new KernelSocketOwners({ ask: () => expect.unreachable() })
    expect(await unasked.ownerOf(socket, { mayAsk: false })).toMatchObject({ uid: own.uid })
  })
})
