import { startLab } from '../../lab/cluster.ts'
import type { Lab, LabNode } from '../../lab/lab.ts'
import { measureGoodput } from '../../lab/machine/goodput.ts'
import { labCgroup } from '../../lab/machine/leftovers.ts'
import { closeOnSignals } from '../../lab/machine/run.ts'
import { StartingLine } from '../../lab/machine/starting-line.ts'
import type { ImageReference, Puller } from '../../lab/pullers/puller.ts'
import { makeSkopeo } from '../../lab/pullers/skopeo.ts'
import { NODE_PROXY_URL } from '../../lab/shoal.ts'
import { fleetImageOf, type Links, limitSeconds, type Mode } from './limit.ts'
import type { Round } from './report.ts'

/** The lab of all rounds. Each round has its own image, which nobody has seen. */

export const NODE_BITS_PER_SECOND = 64e6
export const REGISTRY_BITS_PER_SECOND = 4 * NODE_BITS_PER_SECOND
const MIB = 2 ** 20
/** A little less than 128 MiB, so that the layer with program and headers still has 128 pieces. */
const LAYER_DATA_BYTES = [128 * MIB - 256 * 1024, 256 * 1024]
const TINY_IMAGE = [1024]
/** Room for the round's image and the one before. */
const CACHE_BYTES_MAX = 384 * MIB
const GOODPUT_BYTES = 24 * MIB
const HOLDER = 'holder'

export interface Fleet {
  readonly lab: Lab
  readonly links: Links
  readonly layerBytes: () => number[]
  /** Computed from the measured links. */
  limitSeconds(mode: Mode, nodes: number): number
  measure(mode: Mode, nodes: number): Promise<Round>
}

export async function openFleet(nodes: number, say: (line: string) => void): Promise<Fleet> {
  const names = [...Array.from({ length: nodes }, (_, index) => `node${index + 1}`), HOLDER]
  const lab = await startLab({
    nodes: names.map((name) => ({ name, puller: 'skopeo' })),
    layerDataBytes: TINY_IMAGE,
    links: { nodeBitsPerSecond: NODE_BITS_PER_SECOND, registryBitsPerSecond: REGISTRY_BITS_PER_SECOND },
    nodeConfig: { cacheBytesMax: CACHE_BYTES_MAX },
    onStep: (step) => say(`starting: ${step}`),
    onRun: (run) => closeOnSignals(run, say),
  })
  try {
    const links = await measureLinks(lab)
    return makeFleet(lab, links)
  } catch (error) {
    await lab.close()
    throw error
  }
}

/** The registry's link is a multiple of a node's; its goodput is assumed to be the same multiple. */
async function measureLinks({ run, registryHost, nodes }: Lab): Promise<Links> {
  const goodput = await measureGoodput({ run, from: registryHost, to: nodes[0]!.host, bytes: GOODPUT_BYTES })
  return {
    nodeBytesPerSecond: goodput,
    registryBytesPerSecond: goodput * (REGISTRY_BITS_PER_SECOND / NODE_BITS_PER_SECOND),
  }
}

function makeFleet(lab: Lab, links: Links): Fleet {
  const line = new StartingLine()
  let image: ImageReference | undefined
  let published = 0
  const publish = async () => lab.publish(`round${++published}`, LAYER_DATA_BYTES)
  return {
    lab,
    links,
    limitSeconds: (mode, count) => limitSeconds(mode, count, fleetImageOf(LAYER_DATA_BYTES), links),
    layerBytes: () => image?.layers.map(({ bytes }) => bytes) ?? [],
    async measure(mode, count) {
      // Nothing is cached in direct mode, so an existing image is used again.
      image = mode === 'direct' && image !== undefined ? image : await publish()
      if (mode === 'warm') await fillHolder(lab, image)
      const downloaders = lab.nodes.slice(0, count)
      const pullers = downloaders.map((node) => pullerOf(lab, node, { line, isDirect: mode === 'direct' }))
      const egress = await watchEgress(lab, image)
      const carried = await watchNodes(lab, downloaders, image)
      const seconds = await pullTogether(line, pullers, image)
      const fleetImage = fleetImageOf(image.layers.map(({ bytes }) => bytes))
      const limit = limitSeconds(mode, count, fleetImage, links)
      return { mode, nodes: count, limitSeconds: limit, seconds, ...(await egress()), ...(await carried()) }
    },
  }
}

/** Over links without a bound: how the holder got the image is not measured. */
async function fillHolder(lab: Lab, image: ImageReference): Promise<void> {
  const { network } = lab.run
  const holder = lab.node(HOLDER)
  await network.unshape(lab.registryHost)
  await network.unshape(holder.host)
  await pullerOf(lab, holder, {}).pull(image)
  await network.shape(lab.registryHost, REGISTRY_BITS_PER_SECOND)
  await network.shape(holder.host, NODE_BITS_PER_SECOND)
}

function pullerOf(
  { run, registry }: Lab,
  { host }: LabNode,
  { line, isDirect = false }: { line?: StartingLine; isDirect?: boolean },
): Puller {
  return makeSkopeo({
    host,
    processes: run.processes,
    registryHost: registry.host,
    account: registry.puller,
    proxyUrl: isDirect ? undefined : NODE_PROXY_URL,
    cgroupParent: labCgroup(run.id),
    isDiscarded: true,
    ...(line === undefined ? {} : { line }),
  })
}

/** @returns seconds of each from the common start */
async function pullTogether(line: StartingLine, pullers: Puller[], image: ImageReference): Promise<number[]> {
  line.expect(pullers.length)
  return Promise.all(
    pullers.map(async (puller) => {
      await puller.pull(image)
      return (performance.now() - line.startedMs) / 1000
    }),
  )
}

/** @returns bytes that leave the registry from now until the call, in images */
async function watchEgress({ run, registry, registryHost }: Lab, { layers }: ImageReference) {
  const size = layers.reduce((sum, { bytes }) => sum + bytes, 0)
  const logged = () => {
    const egress = registry.egress()
    return layers.reduce((sum, { digest }) => sum + (egress.get(digest)?.bytes ?? 0), 0)
  }
  const sent = async () => (await run.network.traffic(registryHost)).sentBytes
  const before = { logged: logged(), sent: await sent() }
  return async () => ({
    registryCopies: (logged() - before.logged) / size,
    linkCopies: ((await sent()) - before.sent) / size,
  })
}

/** @returns bytes on the nodes' links from now until the call, in images, with all headers */
async function watchNodes({ run, node }: Lab, downloaders: LabNode[], { layers }: ImageReference) {
  const size = layers.reduce((sum, { bytes }) => sum + bytes, 0)
  const traffic = () =>
    Promise.all([...downloaders, node(HOLDER)].map(({ host }) => run.network.traffic(host)))
  const before = await traffic()
  return async () => {
    const after = await traffic()
    const copies = (key: 'sentBytes' | 'receivedBytes') =>
      after.map((link, index) => (link[key] - before[index]![key]) / size)
    return {
      holderCopies: copies('sentBytes').at(-1)!,
      mostSentCopies: Math.max(...copies('sentBytes').slice(0, -1)),
      mostReceivedCopies: Math.max(...copies('receivedBytes').slice(0, -1)),
    }
  }
}
