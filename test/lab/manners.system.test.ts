import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { shoalUserAgent } from '../../core/user-agent.ts'
import { requirementsFor, startLab } from '../../lab/cluster.ts'
import { startCorporateProxy } from '../../lab/field/corporate-proxy.ts'
import type { Lab } from '../../lab/lab.ts'
import { remainsOf } from '../../lab/machine/leftovers.ts'
import type { LabHost } from '../../lab/machine/network.ts'
import { NAMESPACES_DIR } from '../../lab/machine/network.ts'
import { type LabProcess, waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor, SYSTEM_PYTHON } from '../../lab/machine/requirements.ts'
import { makeSkopeo } from '../../lab/pullers/skopeo.ts'
import { labRegistryConfig, NODE_PROXY_URL, startShoalNode } from '../../lab/shoal.ts'

/**
 * Everything that leaves the hosts of node and tracker, as their kernels see it. Names are in /etc/hosts; whoever asks for
 * another one asks a DNS server. What has no route here goes into the loopback device, and is seen there.
 */

const RECORDER = fileURLToPath(new URL('./sent-addresses.py', import.meta.url))
const PATIENCE_MS = 20_000
/** Heartbeats, renewals of state and a second look at what failed. */
const IDLE_MS = 12_000
const OWN = ['tcp 127.0.0.1 7070', 'tcp 127.0.0.1 7072']

describe.skipIf(mustSkipFor(requirementsFor(['skopeo'])))('what Shoal asks of the network', () => {
  let lab: Lab
  let behind: LabHost
  let proxyAddress: string
  const recorders = new Map<string, LabProcess>()

  beforeAll(async () => {
    lab = await startLab({
      nodes: ['one', 'two'].map((name) => ({ name, puller: 'skopeo' })),
      layerDataBytes: [6_000_000, 4_000_000],
      hasRegistryFront: true,
    })
    await lab.registry.front!.behave({ redirectsBlobs: true })
    behind = await lab.run.network.addHost('behind')
    const trusted = join(behind.etcDocker, 'certs.d', lab.registry.host)
    mkdirSync(trusted, { recursive: true })
    copyFileSync(join(lab.run.dir, 'registry-ca.pem'), join(trusted, 'lab.crt'))
    const proxy = await startCorporateProxy(lab.run, { registryHost: lab.registryHost, others: [behind] })
    proxyAddress = proxy.address
    const hosts = [lab.node('one').host, lab.node('two').host, lab.tracker!.host, behind]
    await Promise.all(hosts.map(record))
    await lab.pull('one')
    await lab.pull('two')
    const { processes } = lab.run
    await startShoalNode({
      ...{ host: behind, processes, tracker: lab.tracker!, isGuarded: false },
      registryConfig: labRegistryConfig(join(lab.run.dir, 'registry-ca.pem'), lab.registry.kind),
      overrides: { upstreamProxy: proxy.url, noProxy: 'tracker.shoal.test' },
    })
    const registryHost = lab.registry.host
    const client = { host: behind, processes, registryHost, cgroupParent: '', proxyUrl: NODE_PROXY_URL }
    await makeSkopeo({ ...client, account: lab.registry.puller }).pull(lab.image)
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  async function record({ name, namespace, address }: LabHost): Promise<void> {
    const { processes } = lab.run
    const inside = ['nsenter', `--net=${join(NAMESPACES_DIR, namespace)}`, '--']
    await processes.run({
      argv: [...inside, 'ip', 'route', 'add', 'default', 'dev', 'lo'],
      timeoutMs: PATIENCE_MS,
    })
    const argv = [...inside, SYSTEM_PYTHON, RECORDER, address]
    const part = processes.start({ name: `${name}-sent`, argv })
    recorders.set(name, part)
    await waitFor('the recorder', PATIENCE_MS, async () => linesOf(part).includes('listening') || undefined)
  }
  const linesOf = ({ logFile }: LabProcess) => readFileSync(logFile, 'utf8').trim().split('\n')
  const sent = (name: string) => new Set(linesOf(recorders.get(name)!).slice(1))
  const addressOf = (name: string) => lab.node(name).host.address

  test('the recorder sees whoever asks somebody else, by name or address', async () => {
    const asks = `for (const host of ['somebody.example', '192.0.2.1']) fetch('http://' + host).catch(() => 0)`
    const stranger = await lab.run.network.addHost('stranger')
    await record(stranger)
    const argv = stranger.command(['timeout', '3', process.execPath, '-e', asks])
    await lab.run.processes.run({ argv, timeoutMs: PATIENCE_MS }).catch(() => undefined)
    const lines = [...sent('stranger')]
    expect(lines).toContain('tcp 192.0.2.1 80')
    expect(lines.some((line) => line.endsWith(' 53'))).toBe(true)
  })

  test('a node asks registry, storage, tracker and peers, and nothing of anybody else', () => {
    const { address: registry } = lab.registryHost
    const storage = /(\S+) storage/.exec(readFileSync(join(lab.run.dir, 'hosts'), 'utf8'))![1]!
    const tracker = lab.tracker!.host.address
    const wanted = [`tcp ${registry} 443`, `tcp ${storage} 443`, `tcp ${tracker} 7443`]
    // The client fetches its tokens through the node's tunnel.
    const common = [...OWN, ...wanted, `tcp ${registry} 5001`]
    expect([...sent('one')]).toEqual(expect.arrayContaining(wanted))
    for (const name of ['one', 'two'])
      expect([...sent(name)].filter((line) => !allowed(common, line))).toEqual([])
    expect(sent('two')).toContain(`tcp ${addressOf('one')} 7071`)
  })

  test('a node behind a proxy asks the proxy, tracker and peers', () => {
    const lines = sent('behind')
    expect(lines).toContain(`tcp ${proxyAddress} 3128`)
    const common = [...OWN, `tcp ${proxyAddress} 3128`, `tcp ${lab.tracker!.host.address} 7443`]
    expect([...lines].filter((line) => !allowed(common, line))).toEqual([])
  })

  test('a tracker asks the registry, and dials the ports of its nodes', () => {
    const lines = [...sent('tracker')]
    expect(lines).toContain(`tcp ${lab.registryHost.address} 443`)
    expect(lines.filter((line) => !allowed([`tcp ${lab.registryHost.address} 443`], line))).toEqual([])
  })

  test('whatever Shoal asks of registry and storage carries its name and version', () => {
    const log = ['registry', 'storage']
      .map((name) => `${lab.run.dir}/log/${name}.log`)
      .map((path) => readFileSync(path, 'utf8'))
    const agents = log.map((text) => new Set([...text.matchAll(/"([^"]*)"$/gm)].map(([, agent]) => agent!)))
    // The client's own requests pass through, and it follows the redirects of small blobs itself.
    for (const names of agents)
      expect([...names].filter((agent) => !agent.startsWith('skopeo/'))).toEqual([shoalUserAgent()])
  })

  const isOfNode = (line: string) =>
    [addressOf('one'), addressOf('two'), behind.address].includes(line.split(' ')[1]!)
  /** Or the peers' port of a node. */
  const allowed = (common: string[], line: string) =>
    common.includes(line) || (line.endsWith(' 7071') && isOfNode(line))
})
