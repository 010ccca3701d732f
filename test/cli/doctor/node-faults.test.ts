import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LinkReport } from '../../../cli/doctor/examine.ts'
import { lockDataDir } from '../../../core/data-lock.ts'
import { askThrough } from '../../proxy/test-proxy.ts'
import { pull, randomBlob, type TestNode } from '../../pull/test-cluster.ts'
import { Seeds } from './seeds.ts'
import { faultsOf, findingOf, useWorld, type World } from './world.ts'

/** Faults of the node itself, and of others that it must reach: each needs a node that was started so. */

let world: World
let seeds: Seeds
useWorld((made) => {
  world = made
  seeds = new Seeds(made)
  return seeds
})

/** This node hears only of others with a blob that it was granted, too. */
async function shareWith(other: TestNode): Promise<void> {
  const { registry, request } = world.cluster
  const wanted = request(registry.add(randomBlob(3_000_000).bytes))
  const { host, port } = { host: wanted.registry, port: world.node.proxyAddress.port }
  const caPem = readFileSync(join(String(world.settings.dataDir), 'proxy-ca.crt'), 'utf8')
  const { token } = wanted.credential as { token: string }
  const path = `/v2/${wanted.repository}/blobs/${wanted.digest}`
  const headers = { authorization: `Bearer ${token}` }
  expect((await askThrough({ host, port, caPem }, { path, headers })).status).toBe(200)
  await pull(other, wanted)
}

describe('a node that does not run', () => {
  beforeAll(() => world.stopNode())
  afterAll(() => world.restart())

  test('is started by its service, and nothing is said about what only it knows', async () => {
    const reports = await world.diagnose()
    expect(faultsOf(reports)).toEqual(['node NODE_DOWN', 'proxy PROXY_SILENT'])
    expect(findingOf(reports, 'NODE_DOWN')!.remedy).toContain('systemctl start shoal')
    const levels = new Map(reports.map(({ link, findings }) => [link, findings.map(({ level }) => level)]))
    expect(levels.get('port')).toEqual(['unknown'])
    expect(levels.get('peers')).toEqual(['unknown'])
    expect(levels.get('joined')).toEqual(['ok'])
    expect(levels.get('tracker')).toEqual(['ok'])
    expect(levels.get('registries')).toEqual(['ok'])
  })

  test('behind a guard leaves runtimes to the relay', async () => {
    const guardControl = await seeds.guard({ node: 'off', relay: 'serving' })
    const reports = await world.diagnose({ guardControl })
    expect(faultsOf(reports)).toContain('guard RELAY_ANSWERS')
    expect(findingOf(reports, 'RELAY_ANSWERS')!.remedy).toContain('shoal guard start')
  })

  test('but has the data folder is mute', async () => {
    seeds.after(lockDataDir(String(world.settings.dataDir)))
    const reports = await world.diagnose()
    expect(faultsOf(reports)).toEqual(['node NODE_MUTE', 'proxy PROXY_SILENT'])
    expect(findingOf(reports, 'NODE_MUTE')).toMatchObject({
      text: expect.stringContaining(`process ${process.pid}`),
      remedy: expect.stringContaining('systemctl restart shoal'),
    })
  })

  test('and has no file with settings is looked for all the same', async () => {
    const reports = await world.diagnose({
      file: '{}',
      env: { SHOAL_NODE_DATA_DIR: join(world.folder, 'none') },
    })
    expect(faultsOf(reports)).toEqual([
      'node NODE_DOWN',
      'proxy PROXY_SILENT',
      'registries NO_REGISTRIES',
      'joined NOT_JOINED',
    ])
    expect(findingOf(reports, 'NO_REGISTRIES')!.remedy).toContain('--registries')
  })
})

describe('a node that runs', () => {
  test('without a membership names the join', async () => {
    await world.startFresh({ joinTokenFile: undefined })
    const reports = await world.diagnose()
    expect(faultsOf(reports)).toEqual(['joined NOT_JOINED'])
    expect(findingOf(reports, 'NOT_JOINED')).toMatchObject({ remedy: expect.stringContaining('shoal join') })
  })

  test('with the data folder of another machine says so', async () => {
    await world.restart()
    await world.stopNode()
    const machine = join(String(world.settings.dataDir), 'node-machine')
    seeds.after(() => world.restart())
    world.write('data/node-machine', `${'0'.repeat(readFileSync(machine, 'utf8').trim().length)}\n`)
    await world.restart({ joinTokenFile: undefined })
    const reports = await world.diagnose()
    expect(faultsOf(reports)).toContain('joined IDENTITY_COPIED')
    expect(findingOf(reports, 'IDENTITY_COPIED')!.remedy).toContain('shoal join')
  })

  test('at a port that is not reached is told so by the tracker, and not by its own settings', async () => {
    await world.startFresh({ peerListen: '127.0.0.2:0' })
    const reports = await world.diagnose()
    // A node that has just ended is still listed, and may be the one that is dialled.
    const ofPort = (all: LinkReport[]) => faultsOf(all).filter((fault) => fault.startsWith('port '))
    expect(ofPort(reports)).toEqual(['port PORT_UNREACHED'])
    expect(findingOf(reports, 'PORT_UNREACHED')!.remedy).toMatch(/Permit TCP from the tracker.*peerListen/)
    const server = createServer((socket) => socket.once('data', () => socket.end('no TLS here')))
    await seeds.listens(server, { port: world.node.peerAddress.port })
    const foreign = await world.diagnose()
    expect(ofPort(foreign)).toEqual(['port PORT_FOREIGN'])
    expect(findingOf(foreign, 'PORT_FOREIGN')!.remedy).toContain('peerListen')
  })

  test('that reaches no peer names the peer and its port; by its id, too', async () => {
    await world.startFresh()
    await world.cluster.nodes[0]!.stop()
    const other = await world.cluster.addNode({ client: { peerListen: { host: '127.0.0.3', port: 0 } } })
    seeds.after(() => other.stop())
    await shareWith(other)
    const { node } = other.client.status().joined!
    expect(faultsOf(await world.diagnose())).toEqual(['peers PEERS_UNREACHABLE'])
    const named = await world.diagnose({ other: node })
    expect(faultsOf(named)).toContain('other node PEERS_UNREACHABLE')
    expect(findingOf(named, 'PEERS_UNREACHABLE')!.remedy).toContain('peerListen')
    const unheard = await world.diagnose({ other: 'f'.repeat(40) })
    expect(faultsOf(unheard)).toEqual(['other node NODE_UNHEARD'])
    expect(findingOf(unheard, 'NODE_UNHEARD')!.remedy).toContain('shoal doctor')
  })

  test('says of another node that both sides reach it', async () => {
    await world.startFresh()
    const other = await world.cluster.addNode()
    await shareWith(other)
    const reports = await world.diagnose({ other: other.client.status().joined!.node })
    expect(faultsOf(reports)).toEqual([])
    expect(reports[0]!.findings.map(({ text }) => text).join('\n')).toMatch(
      /the tracker heard from it.*\n.*a link opens/s,
    )
  })

  test('whose tracker does not answer says which, from both views', async () => {
    await world.cluster.stopTracker()
    seeds.after(() => world.cluster.restartTracker())
    const silent = async () => {
      const reports = await world.diagnose()
      return reports.find(({ link }) => link === 'tracker')!.findings.map(({ code }) => code)
    }
    await expect.poll(silent, { timeout: 10_000 }).toEqual(['TRACKER_UNREACHED'])
  })
})

test('a registry’s words cannot write to the terminal', async () => {
  const { both } = seeds
  const hostile = await seeds.registry((_request, response) => {
    response
      .writeHead(401, { 'www-authenticate': 'Bearer realm="https://x/\u009b2J\u0085", service="y"' })
      .end()
  })
  const reports = await world.diagnose(both.call(seeds, hostile.config))
  const texts = JSON.stringify(reports)
  expect(texts).toContain(String(hostile.host))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are looked for
  expect(texts).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
})
