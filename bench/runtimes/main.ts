import { requirementsFor } from '../../lab/cluster.ts'
import { LabClosedError } from '../../lab/errors.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { requireParts } from '../../lab/machine/requirements.ts'
import { closeOnSignals, type LabRun } from '../../lab/machine/run.ts'
import { fetchParts, type Parts } from '../../lab/parts/parts.ts'
import type { Suite } from '../../lab/parts/suites.ts'
import { RUNTIME_CLIENTS, type RuntimeClient } from '../../lab/runtimes/clients.ts'
import { type ClientRun, measureClient, openRuntimesLab } from '../../lab/runtimes/measure-client.ts'
import { parseRuntimesOptions, runtimesUsage } from './options.ts'
import { problemOf, renderRuns } from './report.ts'

/** `npm run bench:runtimes`: every runtime and every configuration by which it is attached. */

const NAMES = RUNTIME_CLIENTS.map(({ client }) => client)
const say = (line: string) => void process.stderr.write(`${line}\n`)

async function main(argv: string[]): Promise<void> {
  const options = parseRuntimesOptions(argv, NAMES)
  if (options.isHelp) return void process.stdout.write(runtimesUsage(NAMES))
  requireParts(requirementsFor(['skopeo']))
  const parts = new Map<Suite, Parts>()
  for (const suite of options.suites) parts.set(suite, await fetchParts(suite, say))
  const isChosen = (client: RuntimeClient) =>
    options.clients.length === 0 || options.clients.includes(client.client)
  const runs = await measure(RUNTIME_CLIENTS.filter(isChosen), parts)
  process.stdout.write(`${options.isJson ? JSON.stringify({ runs }) : renderRuns(runs)}\n`)
}

async function measure(clients: RuntimeClient[], parts: Map<Suite, Parts>): Promise<ClientRun[]> {
  let current: LabRun | undefined
  closeOnSignals({ close: async () => current?.close() }, say)
  const runs: ClientRun[] = []
  for (const tokens of ['own host', 'registry'] as const) {
    const chosen = clients.filter(
      (client) => client.tokens === tokens && parts.get(client.suite)?.versionOf(client.package),
    )
    if (chosen.length === 0) continue
    const lab = await openRuntimesLab(tokens, (run) => {
      current = run
    })
    try {
      for (const [index, client] of chosen.entries()) {
        const run = await measureClient(lab, parts.get(client.suite)!, client, index)
        say(`${problemOf(run) ?? 'ok'} ${JSON.stringify(run)}`)
        runs.push(run)
      }
    } finally {
      await lab.close()
    }
  }
  return runs
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  // The signal that closed the lab ends this process.
  if (!(error instanceof LabClosedError)) process.exitCode = tellFailure('bench:runtimes', error)
})
