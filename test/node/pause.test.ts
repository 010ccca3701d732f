import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ClientOptions } from '../../client/index.ts'
import { createLog } from '../../core/log.ts'
import { freePort } from '../../lab/machine/free-port.ts'
import { nodeConfig } from '../../node/config.ts'
import { type RunningNode, startNode } from '../../node/main.ts'
import { runShoal } from '../cli/run-shoal.ts'
import { FakeClient } from '../proxy/fake-client.ts'

const log = createLog({ level: 'silent', name: 'test' })

let folder: string
let adminListen: string
let node: RunningNode | undefined
let trackerSays: NonNullable<ClientOptions['onTrackerPause']>
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-pause-'))
  adminListen = `127.0.0.1:${await freePort()}`
})
afterEach(async () => {
  await node?.close()
  node = undefined
  rmSync(folder, { recursive: true })
})

async function start(): Promise<void> {
  const config = nodeConfig.parse({
    trackerUrl: 'https://tracker.example:7443',
    dataDir: folder,
    proxyListen: '127.0.0.1:0',
    adminListen,
    dockerCertsDir: 'none',
    attachedDir: 'none',
    registries: 'registry.example',
  })
  node = await startNode(config, log, async ({ onTrackerPause }) => {
    trackerSays = onTrackerPause!
    return new FakeClient()
  })
}

async function restart(): Promise<void> {
  await node!.close()
  await start()
}

async function codes(): Promise<string[]> {
  const health = (await (await fetch(`http://${adminListen}/healthz`)).json()) as { codes: string[] }
  return health.codes.filter((code) => code.startsWith('PAUSED'))
}

const shoal = (...argv: string[]) => runShoal([...argv, '--data-dir', folder])

describe('shoal pause', () => {
  it('returns once the node stands aside, which lasts over restarts until shoal resume', async () => {
    await start()
    expect(await shoal('pause')).toMatchObject({ code: 0, stdout: expect.stringContaining('is paused') })
    expect(await codes()).toEqual(['PAUSED'])
    await restart()
    expect(await codes()).toEqual(['PAUSED'])
    expect(await shoal('resume')).toMatchObject({ code: 0, stdout: expect.stringContaining('shares again') })
    expect(await codes()).toEqual([])
  })

  it('of a node that is down counts from its start', async () => {
    expect(await shoal('pause')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('will be paused'),
    })
    await start()
    expect(await codes()).toEqual(['PAUSED'])
    await node!.close()
    node = undefined
    expect(await shoal('resume')).toMatchObject({ code: 0, stdout: expect.stringContaining('will share') })
    expect(existsSync(join(folder, 'paused'))).toBe(false)
  })

  it('finds the node by its own settings', async () => {
    await start()
    const file = join(folder, 'node.json')
    writeFileSync(file, JSON.stringify({ localSocket: node!.localSocket }))
    expect(await runShoal(['pause', '--config-file', file])).toMatchObject({ code: 0 })
    expect(await codes()).toEqual(['PAUSED'])
  })

  it('of a node with another folder does not reach this one, and needs a folder', async () => {
    await start()
    const other = mkdtempSync(join(tmpdir(), 'shoal-pause-'))
    const elsewhere = await runShoal(['pause', '--data-dir', other])
    expect(elsewhere).toMatchObject({ code: 0, stdout: expect.stringContaining('not running') })
    const none = await runShoal(['pause', '--data-dir', join(other, 'none')])
    rmSync(other, { recursive: true })
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('ENOENT') })
    expect(none.stderr).toContain('--data-dir')
    expect(await codes()).toEqual([])
  })
})

describe('a pause by the tracker', () => {
  it('begins and ends with its heartbeats, and lasts over a restart without it', async () => {
    await start()
    trackerSays(true)
    expect(await codes()).toEqual(['PAUSED_BY_TRACKER'])
    await restart()
    expect(await codes()).toEqual(['PAUSED_BY_TRACKER'])
    expect((await shoal('resume')).stdout).toContain('keeps it paused')
    trackerSays(false)
    expect(await codes()).toEqual([])
    await restart()
    expect(await codes()).toEqual([])
  })
})
