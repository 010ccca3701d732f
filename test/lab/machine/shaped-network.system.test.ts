import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requirementsFor, startLab } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { measureGoodput } from '../../../lab/machine/goodput.ts'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { StartingLine } from '../../../lab/machine/starting-line.ts'
import { makeSkopeo } from '../../../lab/pullers/skopeo.ts'

const NODE_BITS_PER_SECOND = 64e6
const REGISTRY_BITS_PER_SECOND = 128e6
const BYTES = 8_000_000

describe.skipIf(mustSkipFor([...requirementsFor(['skopeo']), 'tc']))('a lab behind shaped links', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await startLab({
      nodes: ['node1', 'node2'].map((name) => ({ name, puller: 'skopeo' })),
      layerDataBytes: [2_000_000],
      links: { nodeBitsPerSecond: NODE_BITS_PER_SECOND, registryBitsPerSecond: REGISTRY_BITS_PER_SECOND },
    })
  })
  afterAll(async () => {
    await lab?.close()
    if (lab) expect(remainsOf(lab.run.id)).toEqual([])
  })

  async function expectRate(from: string, to: string, bitsPerSecond: number): Promise<void> {
    const host = (name: string) => (name === 'registry' ? lab.registryHost : lab.node(name).host)
    const goodput = await measureGoodput({ run: lab.run, from: host(from), to: host(to), bytes: BYTES })
    expect((goodput * 8) / bitsPerSecond).toBeGreaterThan(0.9)
    expect((goodput * 8) / bitsPerSecond).toBeLessThan(1.1)
  }

  test('a node receives and sends at the rate that was asked for', async () => {
    await expectRate('registry', 'node1', NODE_BITS_PER_SECOND)
    await expectRate('node1', 'node2', NODE_BITS_PER_SECOND)
  })

  test('the registry sends at the rate of its own link to a node that has none', async () => {
    await lab.run.network.unshape(lab.node('node2').host)
    await expectRate('registry', 'node2', REGISTRY_BITS_PER_SECOND)
    await lab.run.network.shape(lab.node('node2').host, NODE_BITS_PER_SECOND)
  })

  test('the counters of a link tell what went through it', async () => {
    const { network } = lab.run
    const before = await network.traffic(lab.registryHost)
    await measureGoodput({ run: lab.run, from: lab.registryHost, to: lab.node('node1').host, bytes: BYTES })
    const { sentBytes } = await network.traffic(lab.registryHost)
    expect(sentBytes - before.sentBytes).toBeGreaterThan(BYTES)
    expect(sentBytes - before.sentBytes).toBeLessThan(BYTES * 1.5)
  })

  test('a node that is cut off pulls nothing, and pulls when healed', async () => {
    await lab.cut('node1')
    const pulling = lab.pull('node1').then(
      () => 'pulled',
      () => 'failed',
    )
    const cutMs = 2_000
    expect(await Promise.race([pulling, new Promise((resolve) => setTimeout(resolve, cutMs, 'waits'))])).toBe(
      'waits',
    )
    expect(lab.registryEgress().get(lab.image.layers[0]!.digest)?.bytes).toBe(0)
    await lab.heal('node1')
    await pulling
    await lab.pull('node1')
    expect(await lab.node('node1').puller.verify(lab.image)).toBe(true)
  })

  test('registry, tracker and a node can be killed and started again', async () => {
    for (const part of ['registry', 'tracker', 'node2']) lab.kill(part)
    await expect(lab.pull('node2')).rejects.toMatchObject({ code: 'LAB_COMMAND' })
    for (const part of ['registry', 'tracker', 'node2']) await lab.revive(part)
    await lab.pull('node2')
    expect(await lab.node('node2').puller.verify(lab.image)).toBe(true)
    expect(() => lab.kill('node3')).toThrow(expect.objectContaining({ code: 'LAB_PART' }))
  })

  test('clients at one starting line start when the last has come', async () => {
    const line = new StartingLine()
    const image = await lab.publish('v2', [50_000])
    const pullers = lab.nodes.map(({ host }) =>
      makeSkopeo({
        ...{ host, line, processes: lab.run.processes, registryHost: lab.registry.host },
        ...{ account: lab.registry.puller, proxyUrl: undefined, cgroupParent: '/', isDiscarded: true },
      }),
    )
    line.expect(2)
    let isDone = false
    const first = pullers[0]!.pull(image).then(() => {
      isDone = true
    })
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(isDone).toBe(false)
    await Promise.all([first, pullers[1]!.pull(image)])
    expect(performance.now() - line.startedMs).toBeLessThan(10_000)
  })
})
