import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { callGuard } from '../../guard/control.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { type StartedShoal, startShoal } from '../cli/run-shoal.ts'
import { openTunnel, readAll } from '../proxy/test-proxy.ts'
import { startTestCluster, type TestCluster } from '../pull/test-cluster.ts'

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

/** A node of a real tracker. */
async function startGuardedNode(): Promise<void> {
  cluster = await startTestCluster({ nodes: 0 })
  const { trackerUrl, trackerCaPem, joinToken } = cluster.nodeOptions('guarded') as Record<string, string>
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const settings = {
    'tracker-url': trackerUrl!,
    'tracker-ca-file': write('tracker-ca.pem', trackerCaPem!),
    'join-token-file': write('join-token', joinToken!),
    'data-dir': join(folder, 'node'),
    'peer-listen': '127.0.0.1:0',
    'admin-listen': '127.0.0.1:0',
    'docker-certs-dir': 'none',
    'attached-dir': 'none',
  }
  startGuard(Object.entries(settings).map(([name, value]) => `--${name}=${value}`))
  await until('node', 'serving')
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

/** What comes back through a tunnel to the echo server. */
async function echoed(text: string): Promise<string> {
  const { socket, status } = await openTunnel(port, `127.0.0.1:${echoPort}`)
  expect(status).toBe(200)
  socket.end(text)
  return readAll(socket)
}

/** Tunnels one after the other until `isOver`. */
async function tunnelsUntil(isOver: () => boolean): Promise<number> {
  let tunnels = 0
  while (!isOver()) {
    expect(await echoed(`tunnel ${tunnels}`)).toBe(`tunnel ${tunnels}`)
    tunnels += 1
  }
  return tunnels
}

describe('a guard', () => {
  it('tunnels while the node cannot start', async () => {
    startGuard(['--config-file', join(folder, 'none.json')])
    await until('relay', 'serving')
    const untilMs = performance.now() + 2000
    expect(await tunnelsUntil(() => performance.now() > untilMs)).toBeGreaterThan(20)
    expect(await callGuard(control, 'status')).toMatchObject({ node: 'waiting', relay: 'serving' })
  })

  it('answers every connection while the node is killed again and again', async () => {
    await startGuardedNode()
    let isOver = false
    const tunnelling = tunnelsUntil(() => isOver)
    for (let kills = 0; kills < 5; kills += 1) {
      const { nodePid } = await until('node', 'serving')
      process.kill(Number(nodePid), 'SIGKILL')
      await until('relay', 'serving')
    }
    isOver = true
    expect(await tunnelling).toBeGreaterThan(20)
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

  it.each([
    ['that is no JSON', '{', 0o600],
    ['that others can write', '{"permitLinkLocal":true}', 0o666],
  ])('answers by the strictest rules with a file %s', async (_what, text, mode) => {
    startGuard(['-'], rules(text, mode))
    await until('relay', 'serving')
    expect(await statusOf('169.254.169.254:80')).toBe(403)
    expect(await echoed('all the same')).toBe('all the same')
    guard!.child.kill('SIGTERM')
    expect((await guard!.outcome).stderr).toContain('the rules file does not count')
  })
})
