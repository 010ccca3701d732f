import { type LabOptions, startLab } from '../../../lab/cluster.ts'
import type { Lab, LabNode } from '../../../lab/lab.ts'
import { labCgroup } from '../../../lab/machine/leftovers.ts'
import type { LabRun } from '../../../lab/machine/run.ts'
import type { ImageReference, Puller } from '../../../lab/pullers/puller.ts'
import { makeSkopeo } from '../../../lab/pullers/skopeo.ts'
import { NODE_PROXY_URL } from '../../../lab/shoal.ts'
import { median } from '../../measure/median.ts'
import { type LogMarks, logMarks, reasonSince } from '../reason.ts'
import type { HeldRun } from '../report.ts'
import { type Bar, COPIES_MAX } from '../verdict.ts'

/** What the situations have in common in which something fails around a pull: a lab with Debian's registry. */

export interface Fault {
  name: string
  /** One sentence. */
  about: string
  measure(options: FaultOptions): Promise<HeldRun[]>
}

export interface FaultOptions {
  /** Undefined: as many as suit the situation. */
  pairs: number | undefined
  /** A smaller image, for tests. */
  isSmall?: boolean
  /** Called with each lab as soon as there is something to close. */
  onRun: (run: LabRun) => void
}

/** One pull of one client. */
export interface Pulled {
  isOk: boolean
  seconds: number
  /** Layers' bytes that left the registry meanwhile, in images. */
  copies: number
  problem: string
}

const NODES = ['node1', 'node2']
/** Nobody pulls the image that every lab starts with. */
const TINY_IMAGE = [1024]
/** A pull that takes longer has failed: the slowest direct one takes some seconds. */
const PATIENCE_MS = 60_000
const MB = 1e6
/** The image of the bars: 75 MB. */
const THREE_LAYERS = [25 * MB, 25 * MB, 25 * MB]
const SMALL_LAYERS = [8 * MB, 4 * MB]

export function layersFor({ isSmall = false }: FaultOptions): number[] {
  return isSmall ? SMALL_LAYERS : THREE_LAYERS
}

/** Two nodes on links without a bound. */
/** As an operator has it. */
const DEFAULT_PATIENCE = { trackerPatienceMs: 500 }

export async function withLab<Value>(
  { onRun }: FaultOptions,
  options: Partial<LabOptions>,
  use: (lab: Lab) => Promise<Value>,
): Promise<Value> {
  const nodes = NODES.map((name) => ({ name, puller: 'skopeo' as const }))
  const lab = await startLab({
    nodes,
    layerDataBytes: TINY_IMAGE,
    nodeConfig: DEFAULT_PATIENCE,
    onRun,
    ...options,
  })
  try {
    return await use(lab)
  } finally {
    await lab.close()
  }
}

let pullers = 0

/** `direct`: the node's client without Shoal. */
export async function pull(
  lab: Lab,
  nodeName: string,
  image: ImageReference,
  via: 'direct' | 'shoal',
  patienceMs = PATIENCE_MS,
): Promise<Pulled> {
  return pullWith(lab, pullerOf(lab, lab.node(nodeName), via, { patienceMs }), image)
}

export function pullerOf(
  { run, registry }: Lab,
  { host }: LabNode,
  via: 'direct' | 'shoal',
  { trustFolder, patienceMs = PATIENCE_MS }: { trustFolder?: string; patienceMs?: number } = {},
): Puller {
  return makeSkopeo({
    ...{ host, processes: run.processes, cgroupParent: labCgroup(run.id), patienceMs },
    registryHost: trustFolder ?? registry.host,
    account: undefined,
    otherAccounts: registry.isOpen ? {} : { [registry.host]: registry.puller },
    proxyUrl: via === 'direct' ? undefined : NODE_PROXY_URL,
    folder: `skopeo-${++pullers}`,
  })
}

export async function pullWith(lab: Lab, puller: Puller, image: ImageReference): Promise<Pulled> {
  const size = image.layers.reduce((sum, { bytes }) => sum + bytes, 0)
  const sent = () => {
    const egress = lab.registry.egress()
    return image.layers.reduce((sum, { digest }) => sum + (egress.get(digest)?.bytes ?? 0), 0)
  }
  const before = sent()
  const startedMs = performance.now()
  const problem = await puller.pull(image).then(
    () => '',
    (error: Error) => error.message.trim().split('\n').at(-1)!,
  )
  const seconds = (performance.now() - startedMs) / 1000
  const isRight = problem === '' && (await puller.verify(image))
  const copies = (sent() - before) / size
  return { isOk: isRight, seconds, copies, problem: isRight ? '' : problem || 'the stored bytes are wrong' }
}

/** Where the logs of a lab's programs end. */
export function marksOf(lab: Lab): LogMarks {
  return logMarks(programsOf(lab))
}

/** One line of the report from pulls in turns. */
export function heldRun(
  lab: Lab,
  names: { case: string; variant: string },
  pulls: { direct: Pulled[]; shoal: Pulled[]; marks: LogMarks; bar: Bar },
): HeldRun {
  const { direct, shoal, marks, bar } = pulls
  const of = (those: Pulled[], figure: (one: Pulled) => number) =>
    Number(median(those.map(figure)).toFixed(3))
  const shoalOk = shoal.every(({ isOk }) => isOk)
  const registryCopies = of(shoal, ({ copies }) => copies)
  const run = {
    ...names,
    directSeconds: of(direct, ({ seconds }) => seconds),
    shoalSeconds: of(shoal, ({ seconds }) => seconds),
    directOk: direct.every(({ isOk }) => isOk),
    shoalOk,
    registryCopies,
    shared: shoalOk && registryCopies <= (bar.copiesMax ?? COPIES_MAX - 1),
    reason: reasonSince(programsOf(lab), marks) || (shoal.find(({ isOk }) => !isOk)?.problem ?? ''),
  }
  return { run, bar }
}

function programsOf({ nodes, tracker }: Lab) {
  return { nodes: nodes.map(({ shoal }) => shoal!), tracker: tracker! }
}
