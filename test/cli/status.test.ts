import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ClientOptions } from '../../client/index.ts'
import { createLog } from '../../core/log.ts'
import { Control } from '../../guard/control.ts'
import { nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { FakeClient } from '../proxy/fake-client.ts'
import { runShoal, startShoal } from './run-shoal.ts'

const log = createLog({ level: 'silent', name: 'test' })
const HOSTILE = '\u001b]0;owned\u0007\u001b[2J'

let folder: string
let node: RunningNode | undefined
let conditions: ClientOptions['conditions']
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-status-'))
})
afterEach(async () => {
  await node?.close()
  node = undefined
  rmSync(folder, { recursive: true })
})

async function start(registries = ''): Promise<void> {
  const config = nodeConfig.parse({
    ...{
      trackerUrl: 'https://tracker.example:7443',
      dataDir: folder,
      dockerCertsDir: 'none',
      attachedDir: 'none',
    },
    ...{ proxyListen: '127.0.0.1:0', adminListen: '127.0.0.1:0', registries },
  })
  node = await startNode(config, log, async (options) => {
    conditions = options.conditions
    return new FakeClient()
  })
}

const shoal = (...argv: string[]) => runShoal([...argv, '--data-dir', folder])

/** As a version before this one left it: without waits. */
function writeOldRecords(): void {
  const bytes = { peers: 700, registry: 200, cache: 0, passedThrough: 100 }
  const layer = {
    ...{ digest: `sha256:${'1'.repeat(64)}`, size: 1000, beganMs: 1000, endedMs: 3000 },
    ...{ bytes, reasons: ['TRACKER_UNAVAILABLE', 'HTTP_503'], outcome: 'done' },
  }
  const pull = {
    id: '0011',
    registry: 'registry.example',
    repository: 'team/app',
    reference: 'v1',
    layers: [layer],
  }
  const history = {
    version: 1,
    installedMs: 1000,
    savedMs: 3000,
    totals: { ...bytes, toPeers: 5 },
    pulls: [pull],
  }
  writeFileSync(join(folder, 'pulls.json'), JSON.stringify(history), { mode: 0o600 })
}

describe('shoal status', () => {
  it('says what keeps the node from sharing, harmlessly, and by its exit code', async () => {
    await start()
    conditions!.raise('CLIENT_DISTRUSTS', HOSTILE, { program: HOSTILE })
    const { code, stdout, stderr } = await shoal('status')
    expect([code, stderr]).toEqual([3, ''])
    expect(stdout).toContain('NO_REGISTRIES')
    expect(stdout).toContain('--registries')
    expect(stdout).toContain('\\u{1b}]0;owned')
    expect(stdout).toMatch(/^(?:[^\p{Cc}]|\n)*$/u)
    const json = await shoal('status', '--json')
    expect(json.stdout).toMatch(/^(?:[^\p{Cc}]|\n)*$/u)
    expect(JSON.parse(json.stdout).conditions).toContainEqual(
      expect.objectContaining({ code: 'CLIENT_DISTRUSTS', subject: HOSTILE }),
    )
  })

  it('says who answers while the node is down, or that nobody does', async () => {
    const control = join(folder, 'guard.sock')
    const none = await shoal('status', '--control', control)
    expect(none).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('no node answers at') })
    const phases = { node: 'off', relay: 'serving' }
    const guard = new Control(control, {
      start: () => undefined,
      stop: () => undefined,
      status: () => phases,
    })
    await guard.listen()
    const down = await shoal('status', '--control', control)
    guard.close()
    expect(down).toMatchObject({ code: 4, stdout: expect.stringContaining('The relay answers') })
    expect(down.stdout).toContain('shoal guard start')
  })

  it('--watch draws again until it is stopped', async () => {
    await start('registry.example')
    const watching = startShoal(['status', '--watch', '--json', '--data-dir', folder])
    let lines = 0
    watching.child.stdout!.on('data', (text: string) => (lines += text.split('\n').length - 1))
    await expect.poll(() => lines, { timeout: 15_000 }).toBeGreaterThanOrEqual(2)
    watching.child.kill('SIGINT')
    const { stdout } = await watching.outcome
    for (const line of stdout.trim().split('\n'))
      expect(JSON.parse(line)).toMatchObject({ node: { joined: true } })
  })
})

it('what an answer says cannot steer the terminal', async () => {
  const error = { code: 'X', message: `${HOSTILE}no`, hint: `try\n${HOSTILE}` }
  const server = createServer((_request, response) => response.writeHead(409).end(JSON.stringify({ error })))
  server.listen(join(folder, 'shoal.sock'))
  const { code, stderr } = await shoal('status')
  server.close()
  expect(code).toBe(1)
  expect(stderr).toContain('\\u{1b}]0;owned\\u{7}')
  expect(stderr).toMatch(/^shoal: [^\p{Cc}]*\nhint: try [^\p{Cc}]*\n$/u)
})

it('a guard that does not answer is a failure, not a mistake in the command line', async () => {
  const { code, stderr } = await runShoal(['guard', 'status', '--control', join(folder, 'none')])
  expect(code).toBe(1)
  expect(stderr).toContain('no guard answers')
})

describe('shoal explain', () => {
  it('explains the last pull, also one that a former version recorded, by any of its names', async () => {
    writeOldRecords()
    await start('registry.example')
    const { code, stdout } = await shoal('explain', 'registry.example/team/app:v1')
    expect(code).toBe(0)
    expect(stdout).toContain('70 %')
    expect(stdout).toContain('TRACKER_UNAVAILABLE (1 layer)')
    expect(stdout).toContain('The tracker did not answer.')
    expect(stdout).toContain('The registry answered with status 503.')
    expect(stdout).toContain('former version')
    const json = await shoal('explain', '111111111111', '--json')
    expect(JSON.parse(json.stdout).pull).toMatchObject({ id: '0011', layers: [{ bytes: { peers: 700 } }] })
  })

  it('names what is on record when there is no such pull', async () => {
    writeOldRecords()
    await start('registry.example')
    const { code, stderr } = await shoal('explain', 'registry.example/team/app:v2')
    expect(code).toBe(1)
    expect(stderr).toContain('registry.example/team/app:v1')
  })
})

describe('shoal wait ready', () => {
  it('returns once the node is there, and says why not when it takes too long', async () => {
    const early = startShoal(['wait', 'ready', '--timeout', '30', '--data-dir', folder])
    await start()
    const late = await shoal('wait', 'ready', '--timeout', '0')
    expect(late).toMatchObject({ code: 3, stdout: expect.stringContaining('NO_REGISTRIES') })
    conditions!.clear('NO_REGISTRIES')
    expect(await early.outcome).toMatchObject({ code: 0, stdout: expect.stringContaining('is ready') })
    expect((await shoal('wait', 'ready', '--timeout', 'soon')).code).toBe(2)
  })
})
