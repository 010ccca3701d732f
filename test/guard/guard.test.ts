import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { callGuard } from '../../guard/control.ts'
import { letCallersWait, ownSocket } from '../../guard/sockets.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { type StartedShoal, startShoal } from '../cli/run-shoal.ts'
import { REPOSITORY } from '../core/test-registry.ts'
import { askThrough, openTunnel, readAll } from '../proxy/test-proxy.ts'
import { randomBlob, startTestCluster, type TestBlob, type TestCluster } from '../pull/test-cluster.ts'

/** A real guard with a real node behind it, as runtimes meet them. */
let folder: string
let control: string
let port: number
let guard: StartedShoal | undefined
let cluster: TestCluster | undefined
let echo: Server
let echoPort: number
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-guard-'))
  control = join(folder, 'guard.sock')
  port = await freePort()
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  echoPort = (echo.address() as { port: number }).port
})
afterEach(async () => {
  guard?.child.kill('SIGTERM')
  await guard?.outcome
  guard = undefined
  echo.close()
  await cluster?.close()
  cluster = undefined
  rmSync(folder, { recursive: true, force: true })
})

function startGuard(nodeArguments: string[], flags: string[] = []): void {
  const own = ['--control', control, '--proxy-listen', `127.0.0.1:${port}`, ...flags]
  guard = startShoal(['guard', 'run', ...own, '--', ...nodeArguments])
}

/** A node of a real tracker, for a registry without authentication. */
async function startGuardedNode(): Promise<TestCluster> {
  cluster = await startTestCluster({ nodes: 0, kind: 'none' })
  const { trackerUrl, trackerCaPem, joinToken } = cluster.nodeOptions('guarded') as Record<string, string>
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const settings = {
    trackerUrl,
    trackerCaFile: write('tracker-ca.pem', trackerCaPem!),
    joinTokenFile: write('join-token', joinToken!),
    dataDir: join(folder, 'node'),
    peerListen: '127.0.0.1:0',
    adminListen: '127.0.0.1:0',
    dockerCertsDir: 'none',
    attachedDir: 'none',
    registries: [cluster.registry.config],
  }
  startGuard(['--config-file', write('node.json', JSON.stringify(settings))])
  await until('node', 'serving')
  return cluster
}

/** The blob as a runtime gets it through whoever answers. */
async function pulled({ registry }: TestCluster, { digest }: TestBlob): Promise<Buffer> {
  const caPem = readFileSync(join(folder, 'node/proxy-ca.crt'), 'utf8')
  const path = `/v2/${REPOSITORY}/blobs/${digest}`
  return (await askThrough({ port, host: registry.host, caPem }, { path })).body
}

async function until(role: 'node' | 'relay', phase: string): Promise<Record<string, unknown>> {
  let status: Record<string, unknown> = {}
  await expect
    .poll(
      async () => {
        status = await callGuard(control, 'status').catch(() => ({}))
        return status[role]
      },
      { timeout: 20_000, interval: 50 },
    )
    .toBe(phase)
  return status
}

/** Of a hundredth of a second of processor time. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** What comes back through a tunnel to the echo server. */
async function echoed(text: string): Promise<string> {
  const { body, code } = await tunnelled(text)
  expect(code).toBeUndefined()
  return body
}

/** @returns what came back behind the answer to CONNECT, and the code of the error that ended the connection */
async function tunnelled(text: string): Promise<{ status: number; body: string; code: string | undefined }> {
  const socket = connect(port, '127.0.0.1')
  let read = ''
  let code: string | undefined
  socket.on('error', (error: NodeJS.ErrnoException) => {
    code = error.code
  })
  socket.setEncoding('latin1').on('data', (part: string) => {
    const isConnected = read.includes('\r\n\r\n')
    read += part
    if (!isConnected && read.includes('\r\n\r\n')) socket.end(text)
  })
  socket.write(`CONNECT 127.0.0.1:${echoPort} HTTP/1.1\r\nHost: 127.0.0.1:${echoPort}\r\n\r\n`)
  await new Promise((resolve) => socket.once('close', resolve))
  const [head = '', ...rest] = read.split('\r\n\r\n')
  return { status: Number(head.split(' ')[1] ?? 0), body: rest.join('\r\n\r\n'), code }
}

/** Tunnels one after the other until `isOver`. What was cut says whether it was before the answer or behind it. */
async function tunnelsUntil(isOver: () => boolean): Promise<{ whole: number; cut: string[] }> {
  const outcome = { whole: 0, cut: [] as string[] }
  while (!isOver()) {
    const { status, body, code } = await tunnelled('through a tunnel')
    if (body === 'through a tunnel') outcome.whole += 1
    else outcome.cut.push(`${status} ${code ?? 'ended'}`)
  }
  return outcome
}

describe('a guard', () => {
  it('tunnels while the node cannot start', async () => {
    startGuard(['--config-file', join(folder, 'none.json')])
    await until('relay', 'serving')
    const untilMs = performance.now() + 2000
    const { whole, cut } = await tunnelsUntil(() => performance.now() > untilMs)
    expect(cut).toEqual([])
    expect(whole).toBeGreaterThan(20)
    await until('node', 'waiting')
    expect(await callGuard(control, 'status')).toMatchObject({ relay: 'serving' })
  })

  it('lets no connection be refused while the node is killed again and again', async () => {
    await startGuardedNode()
    const kills = 5
    let isOver = false
    const tunnelling = tunnelsUntil(() => isOver)
    for (let killed = 0; killed < kills; killed += 1) {
      const { nodePid } = await until('node', 'serving')
      process.kill(Number(nodePid), 'SIGKILL')
      await until('relay', 'serving')
    }
    isOver = true
    const { whole, cut } = await tunnelling
    expect(whole).toBeGreaterThan(20)
    // What the node itself held in its hands ends with it; whatever came later waits for the next to answer.
    expect(cut.length).toBeLessThanOrEqual(kills)
    expect(cut.filter((how) => !/ECONNRESET|EPIPE|ended/.test(how))).toEqual([])
  }, 60_000)

  it('keeps the authority that runtimes trust when the node is killed', async () => {
    const { registry } = await startGuardedNode()
    const path = join(folder, 'node/proxy-ca.crt')
    const [caPem, { nodePid }] = [readFileSync(path, 'utf8'), await until('node', 'serving')]
    process.kill(Number(nodePid), 'SIGKILL')
    await expect
      .poll(async () => (await callGuard(control, 'status')).nodePid, { timeout: 20_000 })
      .not.toBe(nodePid)
    await until('node', 'serving')
    // As in the middle of a pull: Docker reads it once.
    const blob = registry.add(randomBlob(2 ** 20).bytes)
    const asked = { port, host: registry.host, caPem }
    const { body } = await askThrough(asked, { path: `/v2/${REPOSITORY}/blobs/${blob.digest}` })
    expect(body.equals(blob.bytes)).toBe(true)
    // It is nowhere but in memory.
    const stored = readdirSync(join(folder, 'node'), { recursive: true, withFileTypes: true })
    const texts = stored
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    expect(texts.length).toBeGreaterThan(3)
    expect(texts.filter((text) => text.includes('endsAtSeconds'))).toEqual([])
    const serving = await until('node', 'serving')
    expect(readFileSync(`/proc/${serving.nodePid}/environ`, 'latin1')).not.toContain('PRIVATE KEY')
  }, 60_000)

  it('finishes the pull of a node that is exchanged meanwhile, and shares what it held', async () => {
    const { registry } = await startGuardedNode()
    const blob = registry.add(randomBlob(3 * 2 ** 20).bytes)
    registry.chunkPauseMs = 40
    const pulling = pulled(cluster!, blob)
    await expect
      .poll(() => registry.sentBytes.get(blob.digest) ?? 0, { interval: 10 })
      .toBeGreaterThan(2 ** 17)
    await callGuard(control, 'stop')
    await callGuard(control, 'start')
    await until('relay', 'serving')
    expect(await echoed('meanwhile')).toBe('meanwhile')
    expect(registry.sentBytes.get(blob.digest)).toBeLessThan(blob.bytes.length)
    expect((await pulling).equals(blob.bytes)).toBe(true)
    await until('node', 'serving')
    const sent = registry.sentBytes.get(blob.digest)
    expect((await pulled(cluster!, blob)).equals(blob.bytes)).toBe(true)
    expect(registry.sentBytes.get(blob.digest)).toBe(sent)
  }, 60_000)

  it('lets a tunnel of the relay go on when the node takes over, and one of the node when it is stopped', async () => {
    await startGuardedNode()
    const opened: Socket[] = []
    const open = async () => {
      const { socket } = await openTunnel(port, `127.0.0.1:${echoPort}`)
      opened.push(socket)
    }
    await open()
    await callGuard(control, 'stop')
    await until('relay', 'serving')
    await open()
    for (const socket of opened) socket.write('still here')
    for (const socket of opened) expect(String((await once(socket, 'data'))[0])).toBe('still here')
    // A stopped node ends once its last tunnel has.
    expect(await callGuard(control, 'status')).toMatchObject({ node: 'leaving' })
    opened[0]!.end()
    await until('node', 'off')
    await callGuard(control, 'start')
    await until('node', 'serving')
    opened[1]!.end('the last')
    expect(await readAll(opened[1]!)).toBe('the last')
    expect(await echoed('through the node')).toBe('through the node')
  }, 60_000)

  it('takes its sockets from the service manager, and lets the runtime go past a mirror that has no node', async () => {
    const mirrorPort = await freePort()
    const owned = { proxy: port, mirror: mirrorPort }
    const sockets = Object.entries(owned).map(([name, at]) =>
      ownSocket(name, { host: '127.0.0.1', port: at }),
    )
    // As systemd does: the process id is known only to the process itself.
    const script = 'LISTEN_PID=$$ exec "$0" "$@"'
    const program = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
    const child = spawn(
      'sh',
      [
        '-c',
        script,
        process.execPath,
        program,
        'guard',
        'run',
        '--relay-only',
        '--control',
        control,
        '--',
        '-',
      ],
      {
        stdio: ['ignore', 'ignore', 'ignore', ...sockets.map(({ descriptor }) => descriptor)],
        env: { ...process.env, LISTEN_FDS: '2', LISTEN_FDNAMES: 'proxy:mirror' },
      },
    )
    try {
      await until('relay', 'serving')
      expect(await echoed('passed on')).toBe('passed on')
      expect((await fetch(`http://127.0.0.1:${mirrorPort}/v2/team/app/manifests/v1`)).status).toBe(503)
    } finally {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
  })

  it('lets callers wait at a socket of its own before anybody accepts', async () => {
    const socket = ownSocket('proxy', { host: '127.0.0.1', port })
    letCallersWait([socket])
    const caller = connect(port, '127.0.0.1')
    await once(caller, 'connect')
    caller.destroy()
  })

  it('does not spin when nobody reads what it says', async () => {
    startGuard(['--config-file', join(folder, 'none.json')])
    const { relayPid } = await until('relay', 'serving')
    guard!.child.stderr!.destroy()
    // The node ends again and again, and a refused CONNECT is told too.
    for (let asked = 0; asked < 3; asked += 1) await openTunnel(port, '169.254.169.254:80')
    const pids = [Number(relayPid), guard!.child.pid!]
    const before = pids.map(cpuTicks)
    await wait(1000)
    const spent = pids.map((pid, index) => cpuTicks(pid) - before[index]!)
    expect(Math.max(...spent)).toBeLessThan(30)
    expect(await echoed('still there')).toBe('still there')
  })

  it('refuses an address that other machines reach, or that is taken', async () => {
    for (const [address, words] of [
      ['0.0.0.0:0', 'not a loopback address'],
      [`127.0.0.1:${echoPort}`, 'address already in use'],
    ]) {
      const { outcome } = startShoal([
        'guard',
        'run',
        '--proxy-listen',
        address!,
        '--control',
        control,
        '--',
        '-',
      ])
      expect((await outcome).stderr).toContain(words)
    }
  })
})

describe('the relay', () => {
  const rules = (text: string, mode = 0o600) => {
    const path = join(folder, 'relay.json')
    writeFileSync(path, text)
    chmodSync(path, mode)
    return ['--relay-only', '--rules-file', path]
  }
  const statusOf = async (target: string) => (await openTunnel(port, target)).status

  it('keeps the rules of its file, and the node’s own where there are none', async () => {
    startGuard(['-'], rules(JSON.stringify({ deniedPorts: [echoPort] })))
    await until('relay', 'serving')
    expect(await statusOf(`127.0.0.1:${echoPort}`)).toBe(403)
    expect(await statusOf('169.254.169.254:80')).toBe(403)
    expect(await statusOf(`127.0.0.1:${port}`)).toBe(403)
    expect(await statusOf('malformed')).toBe(400)
  })

  it('sends runtimes past the mirror at once, on a socket of the guard’s own', async () => {
    const mirrorPort = await freePort()
    startGuard(['-'], ['--relay-only', '--mirror-listen', `127.0.0.1:${mirrorPort}`])
    await until('relay', 'serving')
    const answer = await fetch(`http://127.0.0.1:${mirrorPort}/v2/team/app/manifests/v1`)
    expect([answer.status, answer.headers.get('connection')]).toEqual([503, 'close'])
    expect(await echoed('beside it')).toBe('beside it')
  })

  it.each([
    ['that is no JSON', '{', 0o600],
    ['that others can write', '{"permitLinkLocal":true}', 0o666],
  ])('answers by the strictest rules with a file %s', async (_what, text, mode) => {
    startGuard(['-'], rules(text, mode))
    await until('relay', 'serving')
    expect(await statusOf('169.254.169.254:80')).toBe(403)
    expect(await echoed('all the same')).toBe('all the same')
    guard!.child.kill('SIGTERM')
    expect((await guard!.outcome).stderr).toContain('a file of rules is ignored')
  })
})
