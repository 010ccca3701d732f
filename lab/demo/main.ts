import { setTimeout as delay } from 'node:timers/promises'
import { requirementsFor } from '../cluster.ts'
import { LabClosedError } from '../errors.ts'
import type { Lab } from '../lab.ts'
import { NAMESPACES_DIR } from '../machine/network.ts'
import { EXIT_FAILED, tellFailure } from '../machine/program-failure.ts'
import { requireParts } from '../machine/requirements.ts'
import { DEMO_USAGE, type DemoOptions, parseDemoOptions } from './options.ts'
import { openProgressView, type ProgressView } from './progress.ts'
import { type DemoReport, judge, renderTable } from './report.ts'
import { DEMO_NODES, openDemoLab, tellStory } from './story.ts'

/** `npm run demo`: a cluster of real parts on this machine, and a pull that shows what Shoal does. */

async function main(argv: string[]): Promise<void> {
  const options = parseDemoOptions(argv)
  if (options.isHelp) return void process.stdout.write(DEMO_USAGE)
  // Standard output belongs to the document when there is one.
  const view = openProgressView(options.isJson ? process.stderr : process.stdout)
  const conclude = (report: DemoReport) => {
    if (options.isJson) process.stdout.write(`${JSON.stringify(report)}\n`)
    if (!report.ok) process.exitCode = EXIT_FAILED
  }
  await demonstrate(options, view, conclude).catch((error: unknown) => {
    if (error instanceof LabClosedError) return // The signal that closed it ends this process.
    conclude(NOTHING_SHOWN)
    process.exitCode = tellFailure('demo', error)
  })
}

const NOTHING_SHOWN: DemoReport = { ok: false, blobBytes: 0, registryEgressBytes: 0, nodes: [] }

async function demonstrate(
  options: DemoOptions,
  view: ProgressView,
  conclude: (report: DemoReport) => void,
): Promise<void> {
  requireParts(requirementsFor(DEMO_NODES.map(({ puller }) => puller)))
  const lab = await openDemoLab(options, view)
  try {
    const { report, reasons } = judge(await tellStory(lab, view))
    view.say(`\n${renderTable(report)}`)
    for (const reason of reasons) view.say(`not ok: ${reason}`)
    conclude(report)
    if (options.isKept) await keepUp(lab, view)
  } finally {
    await lab.close()
  }
}

/** Until a signal closes the lab and ends this process. */
async function keepUp({ run, nodes }: Lab, view: ProgressView): Promise<void> {
  view.say(`everything is still running; Ctrl-C stops and removes it`)
  view.say(`files and logs:  ${run.dir}`)
  for (const { name, host } of nodes)
    view.say(`a shell on ${name}: nsenter --net=${NAMESPACES_DIR}/${host.namespace}`)
  const dayMs = 24 * 3600 * 1000
  for (;;) await delay(dayMs)
}

await main(process.argv.slice(2)).catch((error) => {
  process.exitCode = tellFailure('demo', error)
})
