import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { z } from 'zod'
import { lookAtNode, type Run } from '../../../cli/doctor/about.ts'
import { examine, examineOther, type LinkReport } from '../../../cli/doctor/examine.ts'
import type { Finding } from '../../../cli/doctor/finding.ts'
import { lookAtSettings } from '../../../cli/doctor/look/settings.ts'
import { LocalNode } from '../../../cli/local-node.ts'
import { createLog } from '../../../core/log.ts'
import { nodeConfig } from '../../../node/config.ts'
import { type RunningNode, startNode } from '../../../node/main.ts'
import { startTestCluster, type TestCluster } from '../../pull/test-cluster.ts'

/** A machine with a node in a cluster of two, where everything is right; faults are put in from outside. */

export interface World {
  cluster: TestCluster
  folder: string
  node: RunningNode
  /** Of the node, as in its file. */
  settings: Record<string, unknown>
  /** A file below the world's folder. @returns its path */
  write(name: string, text: string): string
  diagnose(changes?: Diagnosis): Promise<LinkReport[]>
  /** Starts another node in place of this one. */
  restart(changes?: Record<string, unknown>): Promise<void>
  /** Starts a node that was never there before. */
  startFresh(changes?: Record<string, unknown>): Promise<void>
  stopNode(): Promise<void>
  /** Of the node's local API. */
  ask(method: 'GET' | 'PUT' | 'DELETE', path: string): Promise<unknown>
  close(): Promise<void>
}

export interface Diagnosis {
  /** Settings that the doctor finds, while the node runs with its own. */
  settings?: Record<string, unknown>
  /** The file's whole text. */
  file?: string
  /** What programs of the machine say, by their name. */
  says?: Record<string, string>
  guardControl?: string
  env?: Record<string, string>
  /** As `--node`. */
  other?: string
}

const log = createLog({ level: 'silent', name: 'test' })

async function makeWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'shoal-doctor-'))
  const cluster = await startTestCluster({ nodes: 1 })
  const write = (name: string, text: string) => {
    const path = join(folder, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const options = cluster.nodeOptions('doctored') as {
    trackerUrl: string
    trackerCaPem: string
    joinToken: string
  }
  const settings = {
    trackerUrl: options.trackerUrl,
    trackerCaFile: write('tracker-ca.pem', options.trackerCaPem),
    joinTokenFile: write('join-token', options.joinToken),
    dataDir: join(folder, 'data'),
    localSocket: join(folder, 'shoal.sock'),
    ...{ proxyListen: '127.0.0.1:0', adminListen: '127.0.0.1:0', peerListen: '127.0.0.1:0' },
    registries: [cluster.registry.config],
    dockerCertsDir: join(folder, 'certs.d'),
    attachedDir: '/var/lib/shoal-attach',
    cacheBytesMax: 1024 ** 3,
    logLevel: 'silent',
  }
  const start = async (changes: Record<string, unknown> = {}) => {
    const config = nodeConfig.parse({ ...settings, attachedDir: 'none', ...changes })
    world.node = await startNode(config, log)
    const { host, port } = world.node.proxyAddress
    world.settings = { ...settings, ...changes, proxyListen: `${host}:${port}` }
  }
  let isStopped = false
  let fresh = 0
  const world: World = {
    ...{ cluster, folder, settings, write },
    node: undefined as never,
    async diagnose({ settings: changes = {}, file, says = {}, guardControl, env = {}, other } = {}) {
      const path = write('node.json', file ?? JSON.stringify({ ...world.settings, ...changes }))
      const { facts, config } = lookAtSettings({ file: path, dataDir: undefined, env, root: folder })
      const node = new LocalNode([join(folder, 'shoal.sock')])
      const run: Run = async ([program]) => says[program!]
      const about = {
        ...{ env, node, run, root: folder },
        // The folder that the attached files of this world are in is named from its root.
        config: { ...config, dockerCertsDir: config.dockerCertsDir.replace(folder, '') },
        guardControl: guardControl ?? join(folder, 'guard.sock'),
        patienceMs: 1500,
        facts: await lookAtNode(node, config.dataDir),
      }
      return other === undefined ? examine(about, facts) : examineOther(about, other)
    },
    ask: (method, path) => new LocalNode([join(folder, 'shoal.sock')]).ask(path, z.unknown(), { method }),
    async restart(changes) {
      await world.stopNode()
      await start(changes)
      isStopped = false
    },
    startFresh(changes) {
      fresh += 1
      return world.restart({ dataDir: join(folder, `data${fresh}`), ...changes })
    },
    async stopNode() {
      if (!isStopped) await world.node.close()
      isStopped = true
    },
    async close() {
      await world.stopNode()
      await cluster.close()
      rmSync(folder, { recursive: true })
    },
  }
  await start()
  return world
}

/** One machine for all tests of a file. @param begin returns what was put into it, which ends with each test */
export function useWorld(begin: (world: World) => { close(): unknown }): void {
  let world: World
  let seeds: { close(): unknown }
  beforeAll(async () => {
    world = await makeWorld()
    seeds = begin(world)
  })
  afterEach(() => seeds.close())
  afterAll(() => world.close())
}

/** What is wrong, as `link CODE`. */
export function faultsOf(reports: LinkReport[]): string[] {
  return reports.flatMap(({ link, findings }) =>
    findings
      .filter(({ level }) => level === 'warning' || level === 'error')
      .map(({ code }) => `${link} ${code}`),
  )
}

export function findingOf(reports: LinkReport[], code: string): Finding | undefined {
  return reports.flatMap(({ findings }) => findings).find((finding) => finding.code === code)
}
