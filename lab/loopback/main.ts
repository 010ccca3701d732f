import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LabClosedError } from '../errors.ts'
import { LabProcesses } from '../machine/processes.ts'
import { tellFailure } from '../machine/program-failure.ts'
import { requireParts } from '../machine/requirements.ts'
import { closeOnSignals } from '../machine/run.ts'
import { type LoopbackCluster, type LoopbackNode, OWN_PROGRAM, startLoopbackCluster } from './cluster.ts'
import { LOOPBACK_USAGE, type LoopbackOptions, parseLoopbackOptions } from './options.ts'
import { REPOSITORY } from './registry.ts'
import { renderRounds } from './report.ts'
import { runRounds } from './rounds.ts'

/** `npm run lab`: a registry, a tracker and nodes on loopback, for measurements by this program or by another one. */

/** Nodes started at the same time: each start takes a second of a core. */
const NODES_STARTED_AT_ONCE = 4
/** Blobs that nobody has pulled yet, for whoever measures a cluster that is kept. */
const BLOBS_KEPT = 3

async function main(argv: string[]): Promise<void> {
  const options = parseLoopbackOptions(argv)
  if (options.isHelp) return void process.stdout.write(LOOPBACK_USAGE)
  requireParts(['linux', 'setpriv', 'curl', 'docker-registry'])
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const dir = mkdtempSync(join(tmpdir(), 'shoal-loopback-'))
  const logDir = join(dir, 'log')
  mkdirSync(logDir)
  const processes = new LabProcesses(logDir)
  const close = async () => {
    await processes.close()
    rmSync(dir, { recursive: true, force: true })
  }
  process.once('exit', () => {
    processes.killAll()
    rmSync(dir, { recursive: true, force: true })
  })
  closeOnSignals({ close }, say)
  try {
    await measure(options, { dir, processes, say })
  } finally {
    await close()
  }
}

interface Surroundings {
  dir: string
  processes: LabProcesses
  say: (line: string) => void
}

async function measure(options: LoopbackOptions, { dir, processes, say }: Surroundings): Promise<void> {
  say('starting the registry and the tracker')
  const cluster = await startLoopbackCluster({ dir, processes, program: options.program ?? OWN_PROGRAM })
  try {
    say(`starting ${options.nodes} nodes`)
    const nodes = await startNodes(cluster, options.nodes)
    const report = { rounds: await runRounds({ ...options, cluster, processes, nodes, say }) }
    process.stdout.write(`${options.isJson ? JSON.stringify(report) : renderRounds(report)}\n`)
    if (options.isKept) await keepUp(options, { dir, cluster, nodes, say })
  } finally {
    await cluster.registry.close()
  }
}

async function startNodes(cluster: LoopbackCluster, count: number): Promise<LoopbackNode[]> {
  const names = Array.from({ length: count }, (_, index) => `node${index + 1}`)
  const nodes: LoopbackNode[] = []
  while (nodes.length < count) {
    const next = names.slice(nodes.length, nodes.length + NODES_STARTED_AT_ONCE)
    nodes.push(...(await Promise.all(next.map((name) => cluster.startNode(name)))))
  }
  return nodes
}

/** Writes what another program needs, and waits until a signal ends this one. */
async function keepUp(
  { mib }: LoopbackOptions,
  { dir, cluster, nodes, say }: Pick<Surroundings, 'dir' | 'say'> & Started,
): Promise<void> {
  const { registry, tracker } = cluster
  const blobs: string[] = []
  while (blobs.length < BLOBS_KEPT) blobs.push(await registry.addBlob(mib * 2 ** 20))
  const kept = {
    registry: { host: registry.host, pid: registry.part.pid, caFile: registry.caFile },
    repository: REPOSITORY,
    token: await registry.token('pull', 'push'),
    blobs,
    tracker: { pid: tracker.pid },
    nodes: nodes.map(({ name, part, proxyUrl, proxyCaFile }) => {
      return { name, pid: part.pid, proxyUrl, proxyCaFile }
    }),
  }
  const file = join(dir, 'lab.json')
  writeFileSync(file, JSON.stringify(kept, null, 2), { mode: 0o600 })
  say('everything is still running; Ctrl-C stops and removes it')
  say(`addresses, process ids, blobs and a token: ${file}`)
  const dayMs = 24 * 3600 * 1000
  for (;;) await delay(dayMs)
}

interface Started {
  cluster: LoopbackCluster
  nodes: LoopbackNode[]
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof LabClosedError) return // The signal that closed it ends this process.
  process.exitCode = tellFailure('lab', error)
})
