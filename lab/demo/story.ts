import { LabClosedError } from '../errors.ts'
import { PROGRAM_LINE } from '../image/image.ts'
import type { ProgressView } from './progress.ts'
import { tryAtHolder, tryFromOtherCluster, tryWithoutRight } from './refusals.ts'
import type { DemoFacts, NodeReport, RefusalReport } from './report.ts'
import type { DemoStage, StageNode } from './stage.ts'
import { watchProgress } from './watch.ts'

/**
 * Pulls one image, first on one node and then on the others at once, and checks the results. In between and after, those
 * ask who must get nothing.
 */
export async function tellStory(stage: DemoStage, view: ProgressView): Promise<DemoFacts> {
  const failures: string[] = []
  const [first, ...others] = stage.nodes
  const layer = stage.image.layers.at(-1)!.digest
  view.say(`\n${first!.name} pulls ${stage.image.name}; nobody has it yet`)
  const alone = await pullTogether(stage, [first!], { view, failures })
  view.say('\na user without the right asks for it')
  const refusals: RefusalReport[] = []
  const refuse = async (act: () => Promise<RefusalReport>) => {
    const refusal = await attempt(failures, 'nobody could ask', act)
    if (refusal !== undefined) refusals.push(refusal)
  }
  await refuse(() => tryAtHolder(stage, first!.name, layer))
  await refuse(() => tryWithoutRight(stage, others[0]!.name, layer))
  view.say(`\n${others.map(({ name }) => name).join(' and ')} pull it at once`)
  const together = await pullTogether(stage, others, { view, failures })
  view.say('\nchecking what the clients stored')
  const seconds = new Map([...alone, ...together])
  const egress = stage.registryEgress()
  const directSeconds = await pullDirectly(stage.nodes, { view, failures })
  const nodes: NodeReport[] = []
  for (const node of stage.nodes)
    nodes.push(await reportOf(stage, node, { seconds, directSeconds, failures }))
  const hasImageRun = await runsImage(stage, first!, { view, failures })
  view.say('a node of another cluster asks for it')
  await refuse(() => tryFromOtherCluster(stage, layer))
  const { layers } = stage.image
  failures.unshift(...stage.deaths())
  return { layers, egress, nodes, hasImageRun, refusals, parts: stage.parts, failures }
}

interface Telling {
  view: ProgressView
  failures: string[]
}

/** @returns seconds per node; a failed pull is reported and has none */
async function pullTogether(
  stage: DemoStage,
  nodes: StageNode[],
  { view, failures }: Telling,
): Promise<Map<string, number>> {
  const watching = watchProgress(stage, view)
  const seconds = new Map<string, number>()
  await Promise.all(
    nodes.map(async ({ name }) => {
      const taken = await attempt(failures, `${name} could not pull`, () => stage.pull(name))
      if (taken !== undefined) seconds.set(name, taken)
    }),
  ).finally(() => watching.stop())
  return seconds
}

/** The same pulls without Shoal: the first alone, the others at once. */
async function pullDirectly(
  [first, ...others]: StageNode[],
  { view, failures }: Telling,
): Promise<Map<string, number>> {
  view.say('the same pulls without Shoal, to compare')
  const seconds = new Map<string, number>()
  const pull = async (node: StageNode) => {
    const what = `${node.name} could not pull without Shoal`
    const taken = await attempt(failures, what, () => node.pullDirectly())
    if (taken !== undefined) seconds.set(node.name, taken)
  }
  await pull(first!)
  await Promise.all(others.map(pull))
  return seconds
}

async function reportOf(
  stage: DemoStage,
  { name, client, puller, peakRssBytes }: StageNode,
  {
    seconds,
    directSeconds,
    failures,
  }: { seconds: Map<string, number>; directSeconds: Map<string, number>; failures: string[] },
): Promise<NodeReport> {
  const hasPulled = seconds.has(name)
  const blobs = (await attempt(failures, `${name} says nothing`, () => stage.progress(name))) ?? []
  const isVerified =
    hasPulled && (await attempt(failures, `${name} could not be checked`, () => puller.verify(stage.image)))
  return {
    name,
    client,
    seconds: rounded(seconds.get(name) ?? 0),
    directSeconds: rounded(directSeconds.get(name) ?? 0),
    registryBytes: blobs.reduce((sum, { bytesFromRegistry }) => sum + bytesFromRegistry, 0),
    peerBytes: blobs.reduce((sum, { bytesFromPeers }) => sum + bytesFromPeers, 0),
    digestVerified: isVerified === true,
    peakRssBytes: (await attempt(failures, `${name} has ended`, async () => peakRssBytes())) ?? 0,
  }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000
}

/** @returns undefined where the client runs nothing */
async function runsImage(
  { image }: DemoStage,
  { client, puller }: StageNode,
  { view, failures }: Telling,
): Promise<boolean | undefined> {
  if (puller.kind === 'stand-in') return undefined
  const printed = await attempt(failures, 'the image could not be run', () => puller.run(image))
  if (printed?.trim() !== PROGRAM_LINE) return false
  view.say(`the image, run by ${client}, says: ${printed.trim()}`)
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
