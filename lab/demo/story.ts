import { type NodePlan, startLab } from '../cluster.ts'
import { LabClosedError } from '../errors.ts'
import { PROGRAM_LINE } from '../image/image.ts'
import type { Lab, LabNode } from '../lab.ts'
import { closeOnSignals } from '../machine/run.ts'
import type { DemoOptions } from './options.ts'
import type { ProgressView } from './progress.ts'
import type { DemoFacts, NodeReport } from './report.ts'
import { watchProgress } from './watch.ts'

/** The first node pulls alone, the others at once. */
export const DEMO_NODES: NodePlan[] = [
  { name: 'node1', puller: 'docker' },
  { name: 'node2', puller: 'skopeo' },
  { name: 'node3', puller: 'podman' },
]

const MEBIBYTE = 1024 ** 2
/** The first layer's share of the data. */
const FIRST_LAYER_SHARE = 5 / 8

/** Starts the lab; from here on a signal closes it. */
export function openDemoLab({ imageMib }: DemoOptions, view: ProgressView): Promise<Lab> {
  const bytes = imageMib * MEBIBYTE
  const first = Math.round(bytes * FIRST_LAYER_SHARE)
  return startLab({
    nodes: DEMO_NODES,
    layerDataBytes: [first, bytes - first],
    onStep: (step) => view.say(`starting: ${step}`),
    onRun: (run) => closeOnSignals(run, (line) => view.say(line)),
  })
}

/** Pulls one image, first on one node and then on the others at once, and checks the results. */
export async function tellStory(lab: Lab, view: ProgressView): Promise<DemoFacts> {
  const failures: string[] = []
  const [first, ...others] = lab.nodes
  view.say(`\n${first!.name} pulls ${lab.image.name}; nobody has it yet`)
  const alone = await pullTogether(lab, [first!], { view, failures })
  view.say(`\n${others.map(({ name }) => name).join(' and ')} pull it at once`)
  const together = await pullTogether(lab, others, { view, failures })
  view.say('\nchecking what the clients stored')
  const seconds = new Map([...alone, ...together])
  const nodes: NodeReport[] = []
  for (const node of lab.nodes) nodes.push(await reportOf(lab, node, { seconds, failures }))
  return {
    layers: lab.image.layers,
    egress: lab.registryEgress(),
    nodes,
    hasImageRun: await runsImage(lab, first!, { view, failures }),
    failures: [...lab.run.processes.deaths.map(({ message }) => message), ...failures],
  }
}

interface Telling {
  view: ProgressView
  failures: string[]
}

/** @returns seconds per node; a failed pull is reported and has none */
async function pullTogether(
  lab: Lab,
  nodes: LabNode[],
  { view, failures }: Telling,
): Promise<Map<string, number>> {
  const watching = watchProgress(lab, view)
  const seconds = new Map<string, number>()
  await Promise.all(
    nodes.map(async ({ name }) => {
      const taken = await attempt(failures, `${name} could not pull`, () => lab.pull(name))
      if (taken !== undefined) seconds.set(name, taken)
    }),
  ).finally(() => watching.stop())
  return seconds
}

async function reportOf(
  lab: Lab,
  { name, puller, shoal }: LabNode,
  { seconds, failures }: { seconds: Map<string, number>; failures: string[] },
): Promise<NodeReport> {
  const hasPulled = seconds.has(name)
  const blobs = (await attempt(failures, `${name} says nothing`, () => lab.progress(name))) ?? []
  const isVerified =
    hasPulled && (await attempt(failures, `${name} could not be checked`, () => puller.verify(lab.image)))
  return {
    name,
    client: puller.kind === 'docker' ? 'dockerd' : puller.kind,
    seconds: Math.round((seconds.get(name) ?? 0) * 1000) / 1000,
    registryBytes: blobs.reduce((sum, { bytesFromRegistry }) => sum + bytesFromRegistry, 0),
    peerBytes: blobs.reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0),
    digestVerified: isVerified === true,
    peakRssBytes: (await attempt(failures, `${name} has ended`, async () => shoal?.peakRssBytes())) ?? 0,
  }
}

async function runsImage(lab: Lab, { puller }: LabNode, { view, failures }: Telling): Promise<boolean> {
  const printed = await attempt(failures, 'the image could not be run', () => puller.run(lab.image))
  if (printed?.trim() !== PROGRAM_LINE) return false
  view.say(`the image, run by dockerd, says: ${printed.trim()}`)
  return true
}

/** A failure is reported at the end, with the other results; only the end of the lab ends the story. */
async function attempt<Result>(
  failures: string[],
  what: string,
  act: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof LabClosedError) throw error
    failures.push(`${what}: ${(error as Error).message}`)
    return undefined
  }
}
