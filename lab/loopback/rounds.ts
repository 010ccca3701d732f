import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Digest } from '../../core/digest.ts'
import { HEARTBEATS_MISSED_MAX } from '../../tracker/calls/heartbeat.ts'
import { untilConfirmed } from '../confirmed-swarms.ts'
import { LabPartError } from '../errors.ts'
import type { LabProcesses } from '../machine/processes.ts'
import { cpuSecondsOfEndedChildren, processorUse, readProcessors } from '../machine/processor-use.ts'
import { HEARTBEAT_SECONDS, type LoopbackCluster, type LoopbackNode } from './cluster.ts'
import type { LoopbackOptions } from './options.ts'
import { REPOSITORY } from './registry.ts'
import type { RoundReport } from './report.ts'

/** A longer pull has failed. */
const PULL_PATIENCE_MS = 10 * 60_000
/** For late reports, saved states and SHA-1 hashes; and until the tracker names a node that has stopped to nobody. */
const SETTLE_MS = 1000 * HEARTBEAT_SECONDS * (HEARTBEATS_MISSED_MAX + 1)
const MIB = 2 ** 20

type PullPlan = Pick<RoundsPlan, 'cluster' | 'processes'>

export interface RoundsPlan extends Pick<LoopbackOptions, 'mib' | 'rounds' | 'state'> {
  cluster: LoopbackCluster
  processes: LabProcesses
  /** They pull at once. */
  nodes: LoopbackNode[]
  say: (line: string) => void
}

/**
 * The same nodes pull one new blob after the other.
 * @throws LabCommandError, LabPartError when a client gets other bytes, or none
 */
export async function runRounds(plan: RoundsPlan): Promise<RoundReport[]> {
  const holder = plan.state === 'warm' && plan.rounds > 0 ? await plan.cluster.startNode('holder') : undefined
  const reports: RoundReport[] = []
  for (let round = 1; round <= plan.rounds; round++) {
    plan.say(`round ${round}: a blob of ${plan.mib} MiB`)
    const blob = await plan.cluster.registry.addBlob(plan.mib * MIB)
    if (holder !== undefined) await warm(plan, { round, blob, holder })
    await delay(SETTLE_MS)
    reports.push(await timeRound(plan, { round, blob, holder }))
    for (const node of plan.nodes) await checkContent(plan, node, blob)
  }
  return reports
}

/** A blob is confirmed when two nodes have matched it. The second one does not serve: it stops before the nodes pull. */
async function warm(
  plan: RoundsPlan,
  { round, blob, holder }: { round: number; blob: Digest; holder: LoopbackNode },
): Promise<void> {
  const witness = await plan.cluster.startNode(`witness${round}`)
  for (const node of [holder, witness]) await pull(plan, node, blob)
  await untilConfirmed(plan.cluster.trackerDataDir, round)
  await witness.part.stop()
}

interface Round {
  round: number
  blob: Digest
  holder: LoopbackNode | undefined
}

async function timeRound(plan: RoundsPlan, { round, blob, holder }: Round): Promise<RoundReport> {
  const { cluster, nodes, mib } = plan
  const bytes = mib * MIB
  const parts = [cluster.registry.part, cluster.tracker, ...nodes.map(({ part }) => part)]
  const pids = [...parts, ...(holder === undefined ? [] : [holder.part])].map(({ pid }) => pid)
  const read = () => ({ ...readProcessors(pids), clientSeconds: cpuSecondsOfEndedChildren() })
  const tokens = await Promise.all(nodes.map(() => cluster.registry.token('pull')))
  const sent = async () => ({
    registry: cluster.registry.sentBytes(blob),
    holder: holder === undefined ? null : await bytesToPeers(holder, blob),
  })
  const sentBefore = await sent()
  const before = read()
  const startedAtMs = performance.now()
  const took = async (node: LoopbackNode, index: number) => {
    await runCurl(plan, { node, blob, token: tokens[index]! }, ['--output', '/dev/null'])
    return (performance.now() - startedAtMs) / 1000
  }
  const secondsOfNodes = await Promise.all(nodes.map(took))
  const seconds = Math.max(...secondsOfNodes)
  const after = read()
  const sentAfter = await sent()
  const clientSeconds = after.clientSeconds - before.clientSeconds
  // The clients are measured too: they are not others.
  const use = processorUse(before, { ...after, ownSeconds: after.ownSeconds + clientSeconds }, seconds)
  const delivered = bytes * nodes.length
  return {
    ...{ round, state: plan.state, nodes: nodes.length, blobMib: mib, seconds, secondsOfNodes },
    mibPerSecond: delivered / MIB / seconds,
    cpuSecondsPerGib: (after.ownSeconds - before.ownSeconds) / (delivered / 2 ** 30),
    clientCpuSecondsPerGib: clientSeconds / (delivered / 2 ** 30),
    registryCopies: (sentAfter.registry - sentBefore.registry) / bytes,
    holderCopies: sentAfter.holder === null ? null : (sentAfter.holder - sentBefore.holder!) / bytes,
    ...use,
  }
}

async function bytesToPeers(node: LoopbackNode, blob: Digest): Promise<number> {
  return (await node.progress()).find(({ digest }) => digest === blob)?.bytesToPeers ?? 0
}

/** From the node's own copy, after the clock has stopped. */
async function checkContent(plan: RoundsPlan, node: LoopbackNode, blob: Digest): Promise<void> {
  const found = await pull(plan, node, blob)
  if (found !== blob) throw new LabPartError(`${node.name} delivered ${found} instead of ${blob}`)
}

/** @returns the digest of what the client got */
export async function pull(plan: PullPlan, node: LoopbackNode, blob: Digest): Promise<string> {
  const hash = createHash('sha256')
  const token = await plan.cluster.registry.token('pull')
  await runCurl(plan, { node, blob, token }, [], (chunk) => void hash.update(chunk))
  return `sha256:${hash.digest('hex')}`
}

async function runCurl(
  { cluster, processes }: PullPlan,
  { node, blob, token }: { node: LoopbackNode; blob: Digest; token: string },
  argv: string[],
  onOutput?: (chunk: Buffer) => void,
): Promise<void> {
  await processes.run({
    argv: [
      ...['curl', '--silent', '--show-error', '--fail', '--config', '-'],
      ...['--proxy', node.proxyUrl, '--cacert', node.proxyCaFile, ...argv],
      `https://${cluster.registry.host}/v2/${REPOSITORY}/blobs/${blob}`,
    ],
    // Not as an argument, which everybody on the machine can read.
    input: `header = "Authorization: Bearer ${token}"\n`,
    timeoutMs: PULL_PATIENCE_MS,
    ...(onOutput === undefined ? {} : { onOutput }),
  })
}
